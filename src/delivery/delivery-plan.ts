import type { DeliveryOptions } from '../protocol/delivery-options.js';
import { FieldSelection } from './field-selection.js';

/** What follows from the options of a subscription, made once and shared by all rooms in which they are asked for. */
export interface DeliveryPlan {
  /** Subscriptions with equal keys are served alike; empty for those that get every publication as it is. */
  readonly key: string;
  readonly selection: FieldSelection | null;
}

const AS_IT_IS: DeliveryPlan = { key: '', selection: null };
/** By options object: all devices of a message have the same one. */
const plans = new WeakMap<DeliveryOptions, DeliveryPlan>();
/** Selections in use, by their fields: each lives as long as a subscription that asked for them. */
const selections = new Map<string, WeakRef<FieldSelection>>();
const unused = new FinalizationRegistry((key: string) => {
  if (selections.get(key)?.deref() === undefined) {
    selections.delete(key);
  }
});

export function planOf(options: DeliveryOptions): DeliveryPlan {
  const { fields, maxRateHz, aggregate } = options;
  if (fields === undefined && maxRateHz === undefined) {
    return AS_IT_IS;
  }
  let plan = plans.get(options);
  if (plan === undefined) {
    const selection = fields === undefined ? null : selectionOf([...new Set(fields)].sort());
    const key = `${maxRateHz ?? 0} ${aggregate === true} ${selection?.key ?? ''}`;
    plan = { key, selection };
    plans.set(options, plan);
  }
  return plan;
}

function selectionOf(fields: readonly string[]): FieldSelection {
  const key = JSON.stringify(fields);
  let selection = selections.get(key)?.deref();
  if (selection === undefined) {
    selection = new FieldSelection(fields, key);
    selections.set(key, new WeakRef(selection));
    unused.register(selection, key);
  }
  return selection;
}
