//! The name server's requests.

use std::sync::Arc;

use escrow_protocol::frame::Frame;

use crate::remoting::dispatch::unsupported;
use crate::remoting::peer::Peer;
use crate::shared::Shared;

pub(crate) async fn handle(shared: &Arc<Shared>, _peer: &Arc<Peer>, frame: Frame) -> Option<Frame> {
    Some(unsupported(shared, &frame))
}
