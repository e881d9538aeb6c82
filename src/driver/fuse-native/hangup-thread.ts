// The thread that notices the end, from either side, while the one that serves may be stuck in the underlay. When the
// kernel has closed the connection (fs/fuse/dev.c, fuse_dev_poll: EPOLLERR), it tells the daemon and takes the process with
// it: libfuse's threads notice as well, but tell nobody. When the daemon dies, so does the process.

import { parentPort, workerData } from 'node:worker_threads';
import { EINTR } from '../../linux/errno.js';
import { Memory } from '../../linux/memory.js';
import { dieWithParent } from '../../linux/process.js';
import { call6, exitGroup, NR, write } from '../../linux/syscalls.js';
import { HANGUP_FD, type HangupData } from './order.js';

const { daemon, device } = workerData as HangupData;
// A change of a thread's fsuid takes this from it (kernel/cred.c, commit_creds), and the serving thread's changes.
dieWithParent(daemon);
parentPort!.postMessage('ready');
const cell = new Int32Array(device);
Atomics.wait(cell, 0, 0);
const memory = new Memory(16);
// struct pollfd: no event is asked for, as errors are always reported.
memory.i32[0] = Atomics.load(cell, 0);
let ready: number;
do ready = call6(NR.ppoll, memory.address, 1, 0, 0, 0, 0);
while (ready === -EINTR);
write(HANGUP_FD, memory.address, 1);
exitGroup(0);
