// In: the chat protocol's envelope as JSON over WebSocket. Out: an ai_response with the same content.
// Why: what a Go programmer would write with gorilla/websocket, to compare Chatbox with: one goroutine per connection,
// structs for encoding/json, no compression, small read buffers and a shared pool of write buffers, so that idle
// connections are cheap. Says where it listens in one JSON line on standard error.
package main

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const milliseconds = "2006-01-02T15:04:05.000Z07:00"

type request struct {
	Type      string `json:"type"`
	SessionID string `json:"session_id"`
	Content   string `json:"content"`
}

type failure struct {
	Code        string `json:"code"`
	Message     string `json:"message"`
	Recoverable bool   `json:"recoverable"`
}

type reply struct {
	Type      string   `json:"type"`
	SessionID string   `json:"session_id,omitempty"`
	Content   string   `json:"content,omitempty"`
	Sender    string   `json:"sender"`
	Error     *failure `json:"error,omitempty"`
	Timestamp string   `json:"timestamp"`
}

var upgrader = websocket.Upgrader{
	ReadBufferSize:  1024,
	WriteBufferSize: 1024,
	WriteBufferPool: &sync.Pool{},
	CheckOrigin:     func(*http.Request) bool { return true },
}

func now() string { return time.Now().UTC().Format(milliseconds) }

func refuse(message string) reply {
	return reply{Type: "error", Sender: "system", Error: &failure{"INVALID_FORMAT", message, true}, Timestamp: now()}
}

func answer(text []byte, own string) reply {
	var message request
	if json.Unmarshal(text, &message) != nil {
		return refuse("Invalid message format")
	}
	if (message.Type != "user_message" && message.Type != "measure") || message.Content == "" {
		return refuse("Message validation failed")
	}
	if message.SessionID != "" {
		own = message.SessionID
	}
	return reply{Type: "ai_response", SessionID: own, Content: message.Content, Sender: "ai", Timestamp: now()}
}

func send(conn *websocket.Conn, message reply) error {
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	return conn.WriteMessage(websocket.TextMessage, text)
}

func serve(w http.ResponseWriter, r *http.Request) {
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	defer conn.Close()
	conn.SetReadLimit(1024 * 1024)
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		return
	}
	own := hex.EncodeToString(id[:])
	err = send(conn, reply{Type: "connection_status", SessionID: own, Sender: "system", Timestamp: now()})
	for err == nil {
		var text []byte
		if _, text, err = conn.ReadMessage(); err == nil {
			err = send(conn, answer(text, own))
		}
	}
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	http.HandleFunc("/chatbox/ws", serve)
	fmt.Fprintf(os.Stderr, `{"msg":"listening","port":%d}`+"\n", listener.Addr().(*net.TCPAddr).Port)
	if err := http.Serve(listener, nil); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
