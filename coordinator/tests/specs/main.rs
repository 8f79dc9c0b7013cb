//! The coordinator's rules, one test each, on a store in memory and a clock that moves when told.

mod asking;
mod declared;
mod end_transaction;
mod half;
mod model;
mod parking;
mod restart;
mod simulation;
mod timing;
mod view;
mod watermark;
mod world;
