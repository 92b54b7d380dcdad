//! Well-known communities (RFC 1997 and later), as they stand in [`Attributes::communities`](crate::Attributes).

/// 65535:0. The session of the sender is about to go; LOCAL_PREF 0 for its paths (RFC 8326).
pub const GRACEFUL_SHUTDOWN: u32 = 0xffff_0000;
/// 65535:6. The path is stale and goes last (RFC 9494).
pub const LLGR_STALE: u32 = 0xffff_0006;
/// 65535:7. The path is not to be kept when it becomes stale for long (RFC 9494).
pub const NO_LLGR: u32 = 0xffff_0007;
/// 65535:666. Traffic is to be dropped (RFC 7999).
pub const BLACKHOLE: u32 = 0xffff_029a;
/// 65535:65281. Not out of the AS (or the confederation).
pub const NO_EXPORT: u32 = 0xffff_ff01;
/// 65535:65282. To no peer at all.
pub const NO_ADVERTISE: u32 = 0xffff_ff02;
/// 65535:65283. To no external peer, not even of the confederation.
pub const NO_EXPORT_SUBCONFED: u32 = 0xffff_ff03;
