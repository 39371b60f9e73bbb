# The port of the package: on this machine only, for a proxy with TLS in front.
1,/^$/c\
# Another address: systemctl edit chatbox.socket, with an empty ListenStream= before the new one.\

s|^ListenStream=8080$|ListenStream=127.0.0.1:8080|
