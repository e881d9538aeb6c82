// A vitest reporter for scripts/test.mjs: writes what a run amounted to, with the reason of every skipped test, as JSON.

import { writeFileSync } from 'node:fs';
import type { SerializedError } from 'vitest';
import type { Reporter, TestModule } from 'vitest/node';

export interface CountReport {
  passed: number;
  failed: number;
  /** `note` is what the test gave as its reason, null when it gave none. */
  skipped: { name: string; note: string | null }[];
  /** What failed first and passed when repeated. */
  repeated: string[];
  /** What failed outside of tests: files that could not be loaded, hooks, errors that nobody handled. */
  errors: string[];
}

export class CountReporter implements Reporter {
  private readonly file: string;

  constructor(file: string) {
    this.file = file;
  }

  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const report: CountReport = {
      passed: 0,
      failed: 0,
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
        if (test.diagnostic()?.flaky) report.repeated.push(test.fullName);
        if (result.state === 'passed') report.passed++;
        else if (result.state === 'failed') report.failed++;
        else
          report.skipped.push({ name: test.fullName, note: result.state === 'skipped' ? (result.note ?? null) : null });
      }
    }
    writeFileSync(this.file, JSON.stringify(report));
  }
}
