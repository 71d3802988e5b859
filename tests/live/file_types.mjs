// Prints the media type of each file whose path comes in a line, by the reference PDS's sniffer.
// Its first argument is the folder in which the PDS is installed.
import {createReadStream} from 'node:fs';
import {createInterface} from 'node:readline';
import {Readable} from 'node:stream';
import {pathToFileURL} from 'node:url';

const sniffer = pathToFileURL(`${process.argv[2]}/node_modules/file-type/source/index.js`);
const {fileTypeFromStream} = await import(sniffer);
for await (const path of createInterface({input: process.stdin})) {
  const type = await fileTypeFromStream(Readable.toWeb(createReadStream(path))).catch(() => null);
  console.log(type?.mime ?? 'nothing');
}
process.exit(0); // files that were not read to their end are still open
