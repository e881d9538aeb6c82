// `npm test`: everything that has to hold before a change goes in. Installs the packages that the suites use where they are
// missing (Debian's as root, on Debian), checks format, lint and types, builds, and runs the suites one after another.
//
// Promises: a suite that cannot run is named with the reason, and has failed where CI is set (but for one that asks more of
// the kernel than it has); a suite without a single
// test, a test skipped without a reason, and a check that does not pass are failures; what failed, if only once, is named
// again at the end, with what it said; the last line is `N passed, N failed`, with `, N skipped` where tests said why they
// did not run; the exit status is 0 only with nothing failed.

import { spawn, spawnSync } from 'node:child_process';
import { accessSync, constants, existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const SUITES = JSON.parse(readFileSync(join(ROOT, 'test/suites.json'), 'utf8'));
/** A suite that takes longer hangs: its tests have timeouts of their own. */
const SUITE_LIMIT_MS = 20 * 60_000;
const APT = ['-o', 'DPkg::Lock::Timeout=300', '-q', '-y', '--no-install-recommends'];

const say = (text) => console.log(`\n== ${text}`);

const PATH = [...(process.env.PATH ?? '').split(delimiter), '/usr/local/sbin', '/usr/sbin', '/sbin'];
const environment = { ...process.env, PATH: PATH.join(delimiter) };

function isInstalled(program) {
  return PATH.some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

const isRoot = process.getuid() === 0;
const missingPrograms = (suite) => Object.keys(SUITES[suite].programs).filter((program) => !isInstalled(program));

/** Installs what the suites need. Never fails: what is missing afterwards leaves its suites out. */
function installPackages(suites) {
  const packages = new Set(
    suites.flatMap((suite) => missingPrograms(suite).map((program) => SUITES[suite].programs[program])),
  );
  if (packages.size === 0) return;
  if (!isRoot || !isInstalled('apt-get')) {
    say(`Missing, and not installed (that takes root on Debian): ${[...packages].join(' ')}`);
    return;
  }
  say(`Installing Debian packages that the suites use: ${[...packages].join(' ')}`);
  const options = {
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...environment, DEBIAN_FRONTEND: 'noninteractive' },
  };
  spawnSync('apt-get', ['update', '-q'], options);
  const all = spawnSync('apt-get', ['install', ...APT, ...packages], options);
  // One that cannot be installed must not keep the others away.
  if (all.status !== 0) for (const name of packages) spawnSync('apt-get', ['install', ...APT, name], options);
}

const missingModules = (suite) =>
  (SUITES[suite].modules ?? []).filter((name) => !existsSync(join(ROOT, 'node_modules', name)));

/** npm leaves an optional dependency out without a word when its install script fails; ours need none. */
function installModules(suites) {
  if (suites.every((suite) => missingModules(suite).length === 0)) return;
  say('Installing optional dependencies that npm left out');
  const options = ['--ignore-scripts', '--no-save', '--no-audit', '--no-fund'];
  spawnSync('npm', ['install', ...options], { cwd: ROOT, stdio: ['ignore', 'inherit', 'inherit'], env: environment });
}

/** Why the suite cannot run here, or null. */
function obstacle(suite) {
  if (SUITES[suite].root && !isRoot) return 'it mounts, which takes root';
  if (SUITES[suite].root && !isInstalled('umount')) return 'there is no umount';
  const programs = missingPrograms(suite);
  if (programs.length > 0) return `missing programs: ${programs.join(', ')}`;
  const modules = missingModules(suite);
  return modules.length > 0 ? `missing npm packages: ${modules.join(', ')}` : null;
}

/** What the kernel would have to have, which no package adds: such a suite is left out, even where CI is set. */
function missingFromKernel(suite) {
  const { parameter } = SUITES[suite];
  return parameter === undefined || existsSync(parameter) ? null : `this kernel has no ${parameter}`;
}

function runCheck(script) {
  say(`npm run ${script}`);
  return spawnSync('npm', ['run', '--silent', script], { cwd: ROOT, stdio: 'inherit', env: environment }).status === 0;
}

/** Runs one suite; its report, or an error in the place of one. */
async function runSuite(suite) {
  say(`suite ${suite}`);
  const directory = mkdtempSync(join(tmpdir(), 'fuse-shiftfs-report-'));
  const report = join(directory, 'report.json');
  const child = spawn(process.execPath, [join(ROOT, 'node_modules/vitest/vitest.mjs'), 'run', '--project', suite], {
    cwd: ROOT,
    stdio: ['ignore', 'inherit', 'inherit'],
    env: { ...environment, FUSE_SHIFTFS_TEST_REPORT: report },
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), SUITE_LIMIT_MS);
  const [status, signal] = await new Promise((resolve) => child.once('close', (...result) => resolve(result)));
  clearTimeout(timer);
  try {
    return { status, ...JSON.parse(readFileSync(report, 'utf8')) };
  } catch {
    const error = `no report: vitest ended with ${signal ?? `exit status ${status}`}`;
    return { status, passed: 0, failed: 0, skipped: [], errors: [error] };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** What a test said, for those who have only the end of the log. */
const told = (what, { name, errors }) => [
  `${what}: ${name}`,
  ...errors.flatMap((text) => text.split('\n').map((line) => `  ${line}`)),
];

/** What is wrong with a report besides its failed tests. */
function complaints({ status, passed, failed, skipped, errors }) {
  const found = [...errors];
  if (passed + failed === 0 && errors.length === 0) found.push('not a single test ran');
  // A failed hook skips its tests: that failure is the reason.
  if (errors.length === 0)
    for (const { name, note } of skipped) if (note === null) found.push(`skipped without a reason: ${name}`);
  if (status !== 0 && failed === 0 && found.length === 0) found.push(`vitest ended with exit status ${status}`);
  return found;
}

const wanted = process.argv.slice(2);
const unknown = wanted.filter((suite) => SUITES[suite] === undefined);
if (unknown.length > 0) {
  console.error(`no suite ${unknown.join(', ')}; there are ${Object.keys(SUITES).join(', ')}`);
  process.exit(2);
}
const suites = wanted.length > 0 ? wanted : Object.keys(SUITES);

installPackages(suites);
installModules(suites);

const lines = [];
const total = { passed: 0, failed: 0, skipped: 0 };
function count(name, passed, failed, skipped, seconds, notes = []) {
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
  lines.push(`${name.padEnd(14)}${passed} passed, ${failed} failed, ${skipped} skipped  (${seconds.toFixed(0)} s)`);
  for (const note of notes) lines.push(`${' '.repeat(14)}${note}`);
}

let built = false;
for (const script of ['format:check', 'lint', 'typecheck', 'build']) {
  const start = performance.now();
  const passed = runCheck(script);
  if (script === 'build') built = passed;
  count(script, passed ? 1 : 0, passed ? 0 : 1, 0, (performance.now() - start) / 1000);
}

for (const suite of suites) {
  const lacking = missingFromKernel(suite);
  if (lacking !== null) {
    lines.push(`${suite.padEnd(14)}left out: ${lacking}`);
    continue;
  }
  const reason = built ? obstacle(suite) : 'the build failed';
  if (reason !== null) {
    if (process.env.CI) count(suite, 0, 1, 0, 0, [`failed: left out: ${reason}`]);
    else lines.push(`${suite.padEnd(14)}left out: ${reason}`);
    continue;
  }
  const start = performance.now();
  const report = await runSuite(suite);
  const wrong = complaints(report);
  const reasons = report.skipped
    .filter(({ note }) => note !== null)
    .map(({ name, note }) => `skipped: ${name}: ${note}`);
  count(suite, report.passed, report.failed + wrong.length, report.skipped.length, (performance.now() - start) / 1000, [
    ...wrong.map((text) => `failed: ${text}`),
    ...(report.failures ?? []).flatMap((test) => told('failed', test)),
    ...(report.repeated ?? []).flatMap((test) => told('passed when repeated', test)),
    ...reasons,
  ]);
}

say('results');
for (const line of lines) console.log(line);
console.log(`${total.passed} passed, ${total.failed} failed${total.skipped > 0 ? `, ${total.skipped} skipped` : ''}`);
process.exitCode = total.failed === 0 ? 0 : 1;
