// node run_in_node.mjs SNIPPET IMAGES COUNT: the classes that a bundle's snippet gives COUNT images of raw RGB bytes.
import {readFileSync} from 'node:fs';
import {pathToFileURL} from 'node:url';

const [snippet, images, count] = process.argv.slice(2);
const {classify} = await import(pathToFileURL(snippet).href);
const bytes = new Uint8Array(readFileSync(images));
const size = bytes.length / Number(count);
const found = [];
for (let at = 0; at < bytes.length; at += size) found.push(await classify(bytes.subarray(at, at + size)));
console.log(JSON.stringify(found));
