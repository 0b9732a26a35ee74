/** A simulated machine. */
export interface DeviceModel {
  /** The next telemetry of this machine. */
  read(): Record<string, unknown>;
  /** Changes its state; unknown commands are ignored, as devices do. @returns whether anything changed */
  command(command: Readonly<Record<string, unknown>>): boolean;
}

export interface DeviceKind {
  /** Part of the device id. */
  readonly slug: string;
  readonly name: string;
  readonly model: string;
  /** Milliseconds between two readings. */
  readonly everyMs: number;
  readonly units: Readonly<Record<string, string>>;
  /** The commands it accepts, listed in the metadata so that a dashboard can offer them. */
  readonly commands: readonly Readonly<Record<string, unknown>>[];
  create(random: Random): DeviceModel;
}

const ignores = (): boolean => false;
const isNumber = (value: unknown, min: number, max: number): value is number =>
  typeof value === 'number' && value >= min && value <= max;

const thermometer: DeviceKind = {
  slug: 'thermometer',
  name: 'Thermometer',
  model: 'TH-210',
  everyMs: 2_000,
  units: { temperature: '°C', humidity: '%' },
  commands: [],
  create: (random) => {
    const temperature = new Drift(random, 19 + random() * 5, { min: 12, max: 34, step: 0.15 });
    const humidity = new Drift(random, 40 + random() * 15, { min: 20, max: 80, step: 0.4 });
    return {
      read: () => ({ temperature: rounded(temperature.next(), 1), humidity: Math.round(humidity.next()) }),
      command: ignores,
    };
  },
};

const pump: DeviceKind = {
  slug: 'pump',
  name: 'Pump',
  model: 'CP-40',
  everyMs: 1_000,
  units: { speed: 'rpm', flow: 'l/min', pressure: 'bar' },
  commands: [{ action: 'stop' }, { action: 'start' }, { speed: 2400 }],
  create: (random) => {
    const speed = new Drift(random, 1_800, { min: 0, max: 3_000, step: 12 });
    let running = true;
    let asked = 1_800;
    return {
      read: () => {
        speed.target = running ? asked : 0;
        // A stopped pump stops completely; it does not approach zero for ever.
        const rpm = !running && speed.value < 30 ? (speed.value = 0) : speed.next();
        return {
          speed: Math.round(rpm),
          flow: rounded(rpm * 0.032, 1),
          pressure: rounded(1 + (rpm / 3_000) ** 2 * 5, 2),
          running,
        };
      },
      command: ({ action, speed: wanted }) => {
        if (action === 'start' || action === 'stop') {
          running = action === 'start';
        } else if (isNumber(wanted, 0, 3_000)) {
          asked = wanted;
        } else {
          return false;
        }
        speed.value += ((running ? asked : 0) - speed.value) * 0.5;
        return true;
      },
    };
  },
};

const meter: DeviceKind = {
  slug: 'meter',
  name: 'Energy meter',
  model: 'EM-3',
  everyMs: 1_500,
  units: { power: 'kW', voltage: 'V', energy: 'kWh' },
  commands: [],
  create: (random) => {
    const power = new Drift(random, 18 + random() * 20, { min: 2, max: 60, step: 1.2 });
    const voltage = new Drift(random, 231, { min: 224, max: 238, step: 0.3 });
    let energy = 12_000 + random() * 9_000;
    return {
      read: () => {
        const kilowatts = power.next();
        energy += (kilowatts * meter.everyMs) / 3_600_000;
        return {
          power: rounded(kilowatts, 1),
          voltage: rounded(voltage.next(), 1),
          energy: rounded(energy, 2),
        };
      },
      command: ignores,
    };
  },
};

const door: DeviceKind = {
  slug: 'door',
  name: 'Door',
  model: 'DL-7',
  everyMs: 4_000,
  units: {},
  commands: [{ action: 'lock' }, { action: 'unlock' }],
  create: (random) => {
    let open = false;
    let locked = false;
    let passages = Math.floor(random() * 200);
    return {
      read: () => {
        open = !locked && random() < 0.25;
        passages += open ? 1 : 0;
        return { open, locked, passages };
      },
      command: ({ action }) => {
        if (action !== 'lock' && action !== 'unlock') {
          return false;
        }
        locked = action === 'lock';
        return true;
      },
    };
  },
};

const tank: DeviceKind = {
  slug: 'tank',
  name: 'Water tank',
  model: 'LT-12',
  everyMs: 3_000,
  units: { level: '%', volume: 'l', temperature: '°C' },
  commands: [],
  create: (random) => {
    const level = new Drift(random, 55 + random() * 25, { min: 4, max: 98, step: 1.1 });
    const temperature = new Drift(random, 14, { min: 6, max: 25, step: 0.08 });
    return {
      read: () => {
        const percent = level.next();
        return {
          level: rounded(percent, 1),
          volume: Math.round(percent * 25),
          temperature: rounded(temperature.next(), 1),
        };
      },
      command: ignores,
    };
  },
};

const fan: DeviceKind = {
  slug: 'fan',
  name: 'Ventilation',
  model: 'VF-300',
  everyMs: 2_500,
  units: { co2: 'ppm', power: '%' },
  commands: [{ power: 100 }, { power: 40 }],
  create: (random) => {
    const co2 = new Drift(random, 620, { min: 400, max: 1_600, step: 14 });
    let power = 40;
    return {
      read: () => {
        co2.target = 1_000 - power * 5;
        return { co2: Math.round(co2.next()), power };
      },
      command: ({ power: wanted }) => {
        if (!isNumber(wanted, 0, 100)) {
          return false;
        }
        power = wanted;
        return true;
      },
    };
  },
};

/** In the order in which a fleet is filled. */
export const deviceKinds: readonly DeviceKind[] = [thermometer, pump, meter, door, tank, fan];

/** A source of numbers from 0 up to 1, like Math.random; tests give one that repeats. */
export type Random = () => number;

/** A random walk that is pulled back to its middle and never leaves its range, like a sensor's values. */
class Drift {
  constructor(
    private readonly random: Random,
    public value: number,
    private readonly range: { min: number; max: number; step: number },
    /** The value it is pulled to; a command may change it. */
    public target = value,
  ) {}

  next(): number {
    const { min, max, step } = this.range;
    const pull = (this.target - this.value) * 0.08;
    const noise = (this.random() - 0.5) * 2 * step;
    this.value = Math.min(max, Math.max(min, this.value + pull + noise));
    return this.value;
  }
}

/** Rounded for people: `decimals` places at most. */
function rounded(value: number, decimals: number): number {
  const factor = 10 ** decimals;
  return Math.round(value * factor) / factor;
}
