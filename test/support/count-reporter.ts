// A vitest reporter for scripts/test.mjs: writes what a run amounted to, with the reason of every skipped test, as JSON.

import { writeFileSync } from 'node:fs';
import type { SerializedError } from 'vitest';
import type { Reporter, TestModule } from 'vitest/node';

export interface CountReport {
  passed: number;
  failed: number;
  /** Each failed test with the beginnings of its errors, the last try's last. */
  failures: { name: string; errors: string[] }[];
  /** `note` is what the test gave as its reason, null when it gave none. */
  skipped: { name: string; note: string | null }[];
  /** What failed first and passed when repeated. */
  repeated: { name: string; errors: string[] }[];
  /** What failed outside of tests: files that could not be loaded, hooks, errors that nobody handled. */
  errors: string[];
}

/** Enough of a message to know what failed where only the end of a log is left. */
const begin = (message: string): string => message.split('\n').slice(0, 6).join('\n').slice(0, 600);
const beginnings = (errors: readonly { readonly message: string }[] | undefined): string[] => [
  ...new Set((errors ?? []).map(({ message }) => begin(message))),
];

export class CountReporter implements Reporter {
  private readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const report: CountReport = {
      passed: 0,
      failed: 0,
      failures: [],
      skipped: [],
      repeated: [],
      errors: unhandled.map(({ message }) => message),
    };
    for (const module of modules) {
      for (const error of module.errors()) report.errors.push(`${module.relativeModuleId}: ${error.message}`);
      for (const suite of module.children.allSuites())
        for (const error of suite.errors()) report.errors.push(`${suite.fullName}: ${error.message}`);
      for (const test of module.children.allTests()) {
        const result = test.result();
        const told = { name: test.fullName, errors: beginnings(result.errors) };
        if (test.diagnostic()?.flaky) report.repeated.push(told);
        if (result.state === 'passed') report.passed++;
        else if (result.state === 'failed') {
          report.failed++;
          report.failures.push(told);
        } else
          report.skipped.push({ name: test.fullName, note: result.state === 'skipped' ? (result.note ?? null) : null });
      }
    }
    writeFileSync(this.file, JSON.stringify(report));
  }
}
