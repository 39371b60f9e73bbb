// In: a mongod on this network's loopback, fresh or not, and the passwords of its two users. Out: it is a replica set of one, has
// an administrator and the user `chatbox`, who may read and write the database `chatbox` and nothing else. For mongosh.
// Why by hand: a server that asks for passwords lets nobody in from elsewhere until it has a user.
// Each step may be done already: a run that was broken off is begun again, and a changed MONGODB_PASSWORD takes effect.

const fs = require("fs");
const folder = process.env.SECRETS ?? "/run/secrets";
const secret = (name) => fs.readFileSync(`${folder}/${name}`, "utf8").trim();
const connection = connect(process.env.MONGODB_ADDRESS ?? "mongodb://127.0.0.1:27017/?directConnection=true");
const admin = connection.getSiblingDB("admin");

function login() {
  try {
    return admin.auth("admin", secret("MONGODB_ADMIN_PASSWORD")).ok === 1;
  } catch (error) {
    if (error.codeName !== "AuthenticationFailed") throw error;
    return false;
  }
}

function initiate() {
  const host = process.env.MONGODB_MEMBER ?? "mongodb:27017";
  try {
    admin.runCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host }] } });
  } catch (error) {
    if (error.codeName !== "AlreadyInitialized") throw error;
  }
  while (!admin.hello().isWritablePrimary) sleep(200);
}

if (!login()) {
  initiate();
  admin.createUser({ user: "admin", pwd: secret("MONGODB_ADMIN_PASSWORD"), roles: ["root"] });
  if (!login()) throw new Error("the administrator has another password: secrets/MONGODB_ADMIN_PASSWORD is not that of the volume");
}
while (!admin.hello().isWritablePrimary) sleep(200);
const chat = connection.getSiblingDB("chatbox");
const user = { pwd: secret("MONGODB_PASSWORD"), roles: [{ role: "readWrite", db: "chatbox" }] };
if (chat.getUser("chatbox")) chat.updateUser("chatbox", user);
else chat.createUser({ user: "chatbox", ...user });
print("ready");
