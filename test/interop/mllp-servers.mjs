// HL7 servers of others, by their names. Each says its port, and then each control
// id with the MSA-1 that it answered. A message whose OBX-5 asks for it is refused.
import net from 'node:net';
import hl7 from 'simple-hl7';
import { Server } from 'node-hl7-server';

const refuses = process.argv[3] === 'refuse';

async function freePort() {
  const probe = net.createServer();
  await new Promise((done) => probe.listen(0, '127.0.0.1', done));
  const { port } = probe.address();
  await new Promise((done) => probe.close(done));
  return port;
}

const servers = {
  'simple-hl7': async (port) => {
    const app = hl7.tcp();
    app.use((req, res, next) => {
      const code = refuses ? 'AR' : 'AA';
      res.ack.getSegment('MSA').setField(1, code);
      console.log(`${req.msg.header.getField(8)} ${code} ${req.msg.segments.length}`);
      res.end();
    });
    app.start(port);
  },
  'node-hl7-server': async (port) => {
    new Server({ bindAddress: '127.0.0.1' }).createInbound({ port }, async (req, res) => {
      const code = refuses ? 'AR' : 'AA';
      const message = req.getMessage();
      console.log(`${message.get('MSH.10').toString()} ${code} ${message.toString().trim().split('\r').length}`);
      await res.sendResponse(code);
    });
  },
};

const port = await freePort();
await servers[process.argv[2]](port);
const up = setInterval(() => {
  const c = net.connect(port, '127.0.0.1', () => {
    c.destroy();
    clearInterval(up);
    console.log(port);
  });
  c.on('error', () => {});
}, 50);
