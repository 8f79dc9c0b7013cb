//! Every broker of the cluster, whatever topics it has.
//!
//! Producers and consumers meet the brokers of their topics. Who only answers checks has no topics, and must be
//! known to all brokers all the same: to new ones and to those that come back, too.

use escrow_protocol::body::{self, ClusterInfo};
use escrow_protocol::code::request;
use escrow_protocol::frame::Frame;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::error::{Error, Result};

/// A broker that the name servers know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broker {
    /// Its name.
    pub name: String,
    /// Where its master, or the replica that stands in for it, is reached: `host:port`.
    pub address: String,
}

impl Client {
    /// The brokers that the name servers know at present, by name.
    ///
    /// # Errors
    /// No name server answers, or not with what was asked for.
    pub async fn brokers(&self) -> Result<Vec<Broker>> {
        let names = self.shared.routes.names();
        let ask = Frame::request(request::GET_BROKER_CLUSTER_INFO);
        let reply = names.ask(&ask).await?;
        if reply.code != escrow_protocol::code::response::SUCCESS {
            return Err(Error::Refused {
                address: names.current_address(),
                code: reply.code,
                remark: reply.remark.unwrap_or_default(),
            });
        }
        let info = body::decode(&reply.body).map_err(|error| Error::Answer {
            address: names.current_address(),
            reason: error.to_string(),
        })?;
        Ok(masters(info))
    }

    /// Makes the groups of this client known to every broker, and from now on to each that appears later.
    ///
    /// Answers how many brokers took note. One that did not is told as soon as it is reached.
    ///
    /// # Errors
    /// As [`Client::brokers`]; it is tried again with every look at the routes.
    pub async fn join_all(&self) -> Result<usize> {
        self.shared.meet_every_broker();
        let mut told = JoinSet::new();
        for broker in self.brokers().await? {
            let client = self.clone();
            told.spawn(async move {
                let outcome = client.introduce(&client.broker(&broker.address)).await;
                if let Err(error) = &outcome {
                    tracing::warn!(broker = broker.address, %error, "not joined yet");
                }
                outcome.is_ok()
            });
        }
        Ok(told
            .join_all()
            .await
            .into_iter()
            .filter(|told| *told)
            .count())
    }
}

/// Producers are members at masters only: replicas send no checks unless they stand in for one.
fn masters(info: ClusterInfo) -> Vec<Broker> {
    let brokers = info.broker_addr_table.into_iter();
    brokers
        .filter_map(|(name, data)| {
            let acting = || {
                let first = data.broker_addrs.values().next();
                first.filter(|_| data.enable_acting_master)
            };
            let address = data.broker_addrs.get(&0).or_else(acting)?.clone();
            Some(Broker { name, address })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use escrow_protocol::body::BrokerData;

    #[test]
    fn a_replica_is_joined_only_where_it_may_stand_in() {
        let broker = |name: &str, id, enable_acting_master| BrokerData {
            broker_addrs: [(id, format!("{name}:1"))].into(),
            broker_name: name.to_owned(),
            enable_acting_master,
            ..BrokerData::default()
        };
        let data = [
            broker("master", 0, false),
            broker("replica", 1, false),
            broker("acting", 2, true),
        ];
        let info = ClusterInfo {
            broker_addr_table: data.map(|d| (d.broker_name.clone(), d)).into(),
            ..ClusterInfo::default()
        };
        let addresses: Vec<String> = masters(info).into_iter().map(|b| b.address).collect();
        assert_eq!(addresses, ["acting:1", "master:1"]);
    }
}
