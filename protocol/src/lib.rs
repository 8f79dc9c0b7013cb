//! Bytes <-> types: RocketMQ remoting frames, request headers and the message record. Pure: no I/O, no clock.
