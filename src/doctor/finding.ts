// What `doctor` reports: facts, each with what it means for a view and what to change.

/** `unknown`: it takes root to find out, or the attempt failed for another reason. */
export type FindingState = 'good' | 'limited' | 'missing' | 'unknown';

export interface Finding {
  /** Stable, for programs. */
  readonly id: string;
  readonly title: string;
  readonly state: FindingState;
  /** What was found. */
  readonly value: string;
  /** What it means for a view. */
  readonly meaning: string;
  /** What would make it better; null when there is nothing to do, or nothing that could be done here. */
  readonly change: string | null;
  /** Without it there is no view at all. */
  readonly required: boolean;
}

/** Whether the kernel's own idmapped mounts would do instead of a view. */
export interface Advice {
  readonly idmappedMount: 'possible' | 'impossible' | 'unknown';
  readonly text: string;
  /** Each does it, for one kind of container. */
  readonly commands: readonly { readonly for: string; readonly command: string }[];
}

export interface Examination {
  readonly version: 1;
  readonly source: string;
  readonly fileSystem: string;
  /** Whether a view of the source can be mounted here. */
  readonly mountable: boolean;
  readonly findings: readonly Finding[];
  readonly advice: Advice;
}
