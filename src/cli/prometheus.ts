// Views as metrics in Prometheus's text format (exposition format 0.0.4), for a node exporter's textfile collector.

import type { StatusReport } from '../daemon/status.js';

/** What is known of a view; without a report it only counts as down. */
export interface ScrapedView {
  readonly source: string;
  readonly mountpoint: string;
  readonly report: StatusReport | null;
}

type Labels = Readonly<Record<string, string>>;
type Sample = readonly [suffix: string, labels: Labels, value: number];

const PREFIX = 'fuse_shiftfs_';

class Metrics {
  private readonly blocks: string[] = [];

  add(name: string, type: 'gauge' | 'counter' | 'histogram', help: string, samples: readonly Sample[]): void {
    if (samples.length === 0) return;
    const lines = samples.map(
      ([suffix, labels, value]) => `${PREFIX}${name}${suffix}${formatLabels(labels)} ${formatNumber(value)}`,
    );
    this.blocks.push([`# HELP ${PREFIX}${name} ${help}`, `# TYPE ${PREFIX}${name} ${type}`, ...lines].join('\n'));
  }

  toString(): string {
    return this.blocks.join('\n');
  }
}

function formatLabels(labels: Labels): string {
  const quoted = (text: string): string => text.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
  return `{${Object.entries(labels)
    .map(([name, value]) => `${name}="${quoted(value)}"`)
    .join(',')}}`;
}

function formatNumber(value: number): string {
  return value === Number.POSITIVE_INFINITY ? '+Inf' : String(value);
}

/** The text for all views; ends without a newline. */
export function prometheusText(views: readonly ScrapedView[]): string {
  const metrics = new Metrics();
  const of = ({ mountpoint }: ScrapedView, more: Labels = {}): Labels => ({ mountpoint, ...more });
  const each = (samples: (view: ScrapedView, report: StatusReport) => readonly Sample[]): Sample[] =>
    views.flatMap((view) => (view.report === null ? [] : samples(view, view.report)));
  const gauge = (name: string, help: string, value: (report: NonNullable<StatusReport['view']>) => number): void =>
    metrics.add(
      name,
      'gauge',
      help,
      each((view, report) => (report.view === null ? [] : [['', of(view), value(report.view)]])),
    );

  metrics.add(
    'up',
    'gauge',
    'Whether the daemon of the view serves.',
    views.map((view) => ['', { ...of(view), source: view.source }, view.report?.state === 'serving' ? 1 : 0]),
  );
  metrics.add(
    'info',
    'gauge',
    'How the view is served.',
    each((view, { driver, map, view: status }) => [
      [
        '',
        of(view, {
          driver,
          map,
          protocol: status?.protocol ?? '',
          coherence: status?.coherence ?? '',
          watcher: status?.watcher ?? '',
          features: status?.features.join(' ') ?? '',
        }),
        1,
      ],
    ]),
  );
  metrics.add(
    'start_time_seconds',
    'gauge',
    'When the daemon started, in seconds since 1970.',
    each((view, { startedAt }) => [['', of(view), Date.parse(startedAt) / 1000]]),
  );
  gauge('nodes', 'Inodes that the kernel knows.', ({ nodes }) => nodes);
  gauge('node_descriptors', 'Descriptors kept for nodes.', ({ descriptors }) => descriptors.cached);
  gauge('node_descriptors_max', 'Most descriptors that are cached for nodes.', ({ descriptors }) => descriptors.budget);
  gauge('open_files', 'Open files.', ({ openFiles }) => openFiles);
  gauge('open_directories', 'Open directories.', ({ openDirectories }) => openDirectories);
  gauge('workers', 'Serving threads.', ({ workers }) => workers.alive);
  gauge('workers_busy', 'Serving threads with a request at this moment.', ({ workers }) => workers.busy);
  gauge('workers_max', 'Most serving threads there may be.', ({ workers }) => workers.max);
  gauge(
    'leased_names',
    'Names and absences that the kernel may have cached.',
    ({ counters }) => counters['names'] ?? 0,
  );
  metrics.add(
    'request_duration_seconds',
    'histogram',
    'Time in the daemon, by request.',
    each((view, report) =>
      Object.entries(report.view?.requests ?? {}).flatMap(([opcode, { count, total = 0, histogram }]): Sample[] => {
        if (histogram === undefined) return [];
        let below = 0;
        const buckets = histogram.slice(0, -1).map((n, index): Sample => {
          below += n;
          return ['_bucket', of(view, { opcode, le: String(2 ** index / 1e6) }), below];
        });
        return [
          ...buckets,
          ['_bucket', of(view, { opcode, le: '+Inf' }), count],
          ['_sum', of(view, { opcode }), total / 1e6],
          ['_count', of(view, { opcode }), count],
        ];
      }),
    ),
  );
  metrics.add(
    'errors_total',
    'counter',
    'Errors answered, by name.',
    each((view, report) =>
      Object.entries(report.view?.errors ?? {}).map(([errno, n]): Sample => ['', of(view, { errno }), n]),
    ),
  );
  metrics.add(
    'coherence_total',
    'counter',
    'Events of the underlay, leases broken and kept, and notifications, by kind.',
    each((view, report) =>
      Object.entries(report.view?.counters ?? {})
        .filter(([kind]) => kind !== 'names')
        .map(([kind, n]): Sample => ['', of(view, { kind }), n]),
    ),
  );
  return metrics.toString();
}
