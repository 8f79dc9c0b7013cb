//! As in the broker.

pub(crate) mod answer {
    use std::borrow::Cow;

    use escrow_protocol::frame::Frame;

    use crate::rpc_latency::Asked;

    #[derive(Debug)]
    pub(crate) struct Answer {
        pub(crate) asked: Asked,
    }

    impl Answer {
        pub(crate) fn into_frame(self) -> Frame {
            Frame::request(0)
        }
    }

    pub(crate) struct Refusal;

    impl Refusal {
        pub(crate) fn new(_: i32, _: impl Into<Cow<'static, str>>) -> Refusal {
            Refusal
        }
    }

    pub(crate) struct RequestHead;

    impl RequestHead {
        pub(crate) fn of(_: &Frame) -> RequestHead {
            RequestHead
        }

        pub(crate) fn refuse(self, _: Refusal) -> Frame {
            Frame::request(0)
        }
    }
}

#[allow(dead_code)]
#[path = "../../../broker/src/remoting/outbox.rs"]
pub(crate) mod outbox;
