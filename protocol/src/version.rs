//! Ordinals of `MQVersion`, which clients and servers exchange in each frame's `version`.

/// From here on a broker honours `maxReconsumeTimes` of a send-back or retry send.
pub const V3_4_9: i32 = 121;
/// From here on Java clients read a route in standard JSON.
pub const V4_9_4: i32 = 401;
/// The release whose behaviour this product mirrors, and the version it sends.
pub const V5_5_0: i32 = 513;
