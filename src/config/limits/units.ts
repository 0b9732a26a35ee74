export const KIB = 1024;
export const MIB = 1024 * KIB;
export const HOUR_S = 3600;
