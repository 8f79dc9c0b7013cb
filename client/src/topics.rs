//! Creating, deleting and listing topics.

use std::sync::Arc;

use escrow_protocol::body::{self, TopicList};
use escrow_protocol::code::{request, response};
use escrow_protocol::frame::Frame;
use escrow_protocol::header::{CreateTopic, DeleteTopic, DeleteTopicInNameServer};
use escrow_protocol::names::{AUTO_CREATE_TOPIC, DEFAULT_CLUSTER};
use escrow_protocol::sysflag::perm;

use crate::client::Client;
use crate::error::{Error, Result};
use crate::route::Route;

impl Client {
    /// Creates a topic with `queues` queues on every broker of the cluster, or changes its queue count.
    ///
    /// # Errors
    /// No broker known, or a broker that refused.
    pub async fn create_topic(&self, topic: &str, queues: i32) -> Result<()> {
        let cluster = self.cluster().await?;
        for (_, address) in cluster.brokers() {
            let mut frame = Frame::request(request::UPDATE_AND_CREATE_TOPIC);
            CreateTopic {
                topic,
                default_topic: Some(AUTO_CREATE_TOPIC),
                read_queues: queues,
                write_queues: queues,
                perm: perm::READ | perm::WRITE,
                filter_type: Some("SINGLE_TAG"),
                topic_sys_flag: Some(0),
                order: false,
                attributes: None,
                force: false,
            }
            .encode(&mut frame.ext);
            self.call(&self.broker(address), frame).await?;
        }
        self.shared.routes.forget(topic);
        Ok(())
    }

    /// Deletes a topic on every broker of the cluster and at the name server.
    ///
    /// # Errors
    /// No broker known, or a server that refused.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        let cluster = self.cluster().await?;
        for (_, address) in cluster.brokers() {
            let mut frame = Frame::request(request::DELETE_TOPIC_IN_BROKER);
            DeleteTopic { topic }.encode(&mut frame.ext);
            self.call(&self.broker(address), frame).await?;
        }
        let mut frame = Frame::request(request::DELETE_TOPIC_IN_NAMESRV);
        DeleteTopicInNameServer {
            topic,
            cluster: None,
        }
        .encode(&mut frame.ext);
        self.ask_name_server(&frame).await?;
        self.shared.routes.forget(topic);
        Ok(())
    }

    /// The names of all topics, those of the system among them.
    ///
    /// # Errors
    /// No name server answered, or its answer could not be read.
    pub async fn topics(&self) -> Result<Vec<String>> {
        let frame = Frame::request(request::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        let reply = self.ask_name_server(&frame).await?;
        let list: TopicList = body::decode(&reply.body).map_err(|error| Error::Answer {
            address: self.shared.routes.names().current_address(),
            reason: error.to_string(),
        })?;
        Ok(list.topic_list)
    }

    /// The brokers, by the route of a topic that every broker has: Apache's answer to the request made for
    /// this (106) is not JSON.
    async fn cluster(&self) -> Result<Arc<Route>> {
        match self.route(DEFAULT_CLUSTER).await {
            Err(Error::NoRoute { .. }) => self.route(AUTO_CREATE_TOPIC).await,
            found_or_failed => found_or_failed,
        }
    }

    async fn ask_name_server(&self, frame: &Frame) -> Result<Frame> {
        let names = self.shared.routes.names();
        let reply = names.ask(frame).await?;
        if reply.code == response::SUCCESS {
            return Ok(reply);
        }
        Err(Error::Refused {
            address: names.current_address(),
            code: reply.code,
            remark: reply.remark.unwrap_or_default(),
        })
    }
}
