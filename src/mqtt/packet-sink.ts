/** Receives what IncomingPackets finds. Buffers are the network's chunks: who keeps something small of one copies it. */
export interface PacketSink {
  /**
   * One PUBLISH of QoS 0 or 1; positions are offsets into `buffer`.
   * @param flags of the fixed header: see FLAG_RETAIN, FLAG_DUP
   * @param packetId 0 for QoS 0
   */
  publish(
    buffer: Buffer,
    flags: number,
    packetId: number,
    topicStart: number,
    topicEnd: number,
    payloadStart: number,
    payloadEnd: number,
  ): void;
  /**
   * A PUBLISH whose payload is over the limit; its payload was not kept.
   * @param bytes of the packet after its topic
   */
  oversized(
    buffer: Buffer,
    flags: number,
    packetId: number,
    topicStart: number,
    topicEnd: number,
    bytes: number,
  ): void;
  /** Any other packet, whole. */
  control(packet: Buffer): void;
  pingResponse(packet: Buffer): void;
}
