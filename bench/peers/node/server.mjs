// In: the chat protocol's envelope as JSON over WebSocket. Out: an ai_response with the same content.
// Why: what a Node programmer would write with the `ws` package, to compare Chatbox with. One process, no compression,
// Nagle off (as `ws` does by itself), one send per reply. Says where it listens in one JSON line on standard error.
import { randomUUID } from 'node:crypto';
import { WebSocketServer } from 'ws';

const types = new Set(['user_message', 'measure']);

function answer(data, own) {
  let message;
  try {
    message = JSON.parse(data);
  } catch {
    return { type: 'error', error: { code: 'INVALID_FORMAT', message: 'Invalid message format', recoverable: true } };
  }
  if (!message || !types.has(message.type) || typeof message.content !== 'string' || message.content === '') {
    return { type: 'error', error: { code: 'INVALID_FORMAT', message: 'Message validation failed', recoverable: true } };
  }
  return {
    type: 'ai_response',
    session_id: message.session_id || own,
    content: message.content,
    sender: 'ai',
    timestamp: new Date().toISOString(),
  };
}

const server = new WebSocketServer(
  { host: '127.0.0.1', port: 0, path: '/chatbox/ws', perMessageDeflate: false, maxPayload: 1024 * 1024, backlog: 1024 },
  () => process.stderr.write(`${JSON.stringify({ msg: 'listening', port: server.address().port })}\n`),
);

server.on('connection', (socket) => {
  const own = randomUUID();
  socket.on('error', () => socket.terminate());
  socket.on('message', (data) => socket.send(JSON.stringify(answer(data, own))));
  socket.send(JSON.stringify({
    type: 'connection_status', session_id: own, sender: 'system', timestamp: new Date().toISOString(),
  }));
});

process.on('SIGTERM', () => process.exit(0));
