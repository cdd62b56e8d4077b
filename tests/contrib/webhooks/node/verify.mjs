// Verifies a message by the library from npm, and its ed25519 signature by Node's own crypto.
import { createPublicKey, verify } from "node:crypto";
import { Webhook } from "standardwebhooks";

const { secret, publicKey, headers, body } = JSON.parse(process.argv[2]);

function byHmac() {
  try {
    return new Webhook(secret).verify(body, headers).type;
  } catch (error) {
    return error.name;
  }
}

function byEd25519() {
  const x = Buffer.from(publicKey.slice("whpk_".length), "base64").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  const signed = `${headers["webhook-id"]}.${headers["webhook-timestamp"]}.${body}`;
  const signatures = headers["webhook-signature"].split(" ");
  const signature = signatures.find((each) => each.startsWith("v1a,")).slice("v1a,".length);
  return verify(null, Buffer.from(signed), key, Buffer.from(signature, "base64"));
}

console.log(JSON.stringify({ hmac: byHmac(), ed25519: byEd25519() }));
