// What `share` has to know of a container runtime, and the runtimes themselves.

export const RUNTIMES = ['lxd', 'incus', 'lxc', 'podman'] as const;
export type RuntimeName = (typeof RUNTIMES)[number];

export interface Container {
  readonly runtime: RuntimeName;
  readonly name: string;
  /** Of its init, as the host sees it; null when it is not running. */
  readonly pid: number | null;
  /** Why it cannot be given a view, if that is known without a look at its ids. */
  readonly obstacle: string | null;
}

/** A directory of the host at a path of the container. */
export interface Attachment {
  /** Name of the share. */
  readonly name: string;
  readonly source: string;
  readonly path: string;
}

/** Gives directories to running containers, or prints what gives them to the container with its next start. */
export type Runtime = RuntimeBase & (WithDevices | WithConfiguration);

interface RuntimeBase {
  readonly name: RuntimeName;
  /** As its makers write it. */
  readonly title: string;
  /** Undefined when it has no such container; a text that says why when it cannot be asked. */
  find(container: string): Container | string | undefined;
}

interface WithDevices {
  readonly devices: Devices;
  readonly configuration?: undefined;
}

interface WithConfiguration {
  readonly devices?: undefined;
  /** Where the line goes, and the line. */
  configuration(container: string, attachment: Attachment): readonly [where: string, line: string];
}

export interface Devices {
  /** What the container has under the name of that share. Throws ShiftfsError. */
  get(container: string, name: string): Omit<Attachment, 'name'> | undefined;
  /** Throws ShiftfsError with what the runtime said. */
  add(container: string, attachment: Attachment): void;
  remove(container: string, name: string): void;
}
