/** Plain numbers of the hot paths: a field is incremented per delivery or connect, the registry reads them when it is scraped. */
export class HotCounters {
  /** Publication times live subscription: what delivered, conflated and dropped must add up to. */
  due = 0;
  delivered = 0;
  control = 0;
  bytes = 0;
  /** Publications of a subscription replaced by a newer one or merged into a window. */
  conflated = 0;
  /** Publications of a subscription that the fields it asked for do not concern. */
  filtered = 0;
  /** Publications of a subscription that an error kept from being made or sent. */
  failed = 0;
  /** What the open windows of `aggregate` hold, estimated: the bound over all of them is held against it. */
  aggregateBytes = 0;
  /** Values left out of aggregated payloads: too many members, too many bytes, nested too deep. */
  readonly aggregateLeftOut = { members: 0, bytes: 0, depth: 0 };
  /** Connections that have opened. */
  accepted = 0;
  connectionsOpen = 0;
  connectionsPending = 0;
  /** Tokens whose signature was checked and is good. */
  tokensVerified = 0;
  /** Good tokens that were verified before. */
  tokensCached = 0;
}
