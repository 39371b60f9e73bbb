# The unit for those who install by hand -> the unit of the package: own paths, a user that stays, settings in a file that
# the server reads itself and whose mistakes it names.
1,/^$/c\
# The port: chatbox.socket. The settings: /etc/chatbox/chatbox.conf, see chatbox.conf(5).\

s|^Description=.*|&\
Documentation=man:chatbox(1) man:chatbox.conf(5)\
# Whatever has become of the socket: a server without it would listen at another address.\
Requires=chatbox.socket\
After=chatbox.socket|
s|/usr/local/bin/|/usr/bin/|
s|^\(Exec[A-Za-z]*=.*\)$|\1 --config /etc/chatbox/chatbox.conf|
/^EnvironmentFile=/d
/^Environment=STORE_URL=/d
s|^DynamicUser=yes$|User=chatbox\
Group=chatbox|
