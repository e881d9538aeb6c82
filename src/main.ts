#!/bin/sh
//bin/true; exec node "$0" "$@"
// The program. The two lines above are a shell script: mount(8) runs helpers with PATH unset, and sh, unlike env(1), then
// still looks in /usr/local/bin. Node skips the first and takes the second for a comment.

import { run } from './cli/program.js';

await run(process.argv.slice(2), process.argv[1] ?? '');
