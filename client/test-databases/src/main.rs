//! Runs database servers until its standard input ends or SIGTERM comes.
//!
//! `test-databases postgres [NAME=VALUE…] mysql [NAME=VALUE…]`, with settings for the server they follow, prints
//! `test-databases ready postgres=URL mysql=URL`.

use std::io::{copy, sink, stdin};

use escrow_test_databases::{Engine, Server};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut wanted: Vec<(Engine, Vec<&str>)> = Vec::new();
    for argument in &arguments {
        match (argument.as_str(), wanted.last_mut()) {
            ("postgres", _) => wanted.push((Engine::Postgres, Vec::new())),
            ("mysql", _) => wanted.push((Engine::MariaDb, Vec::new())),
            (setting, Some((_, settings))) if setting.contains('=') => settings.push(setting),
            _ => return Err(format!("{argument}: neither postgres nor mysql").into()),
        }
    }
    let mut servers = Vec::new();
    let mut ready = String::from("test-databases ready");
    for (engine, settings) in &wanted {
        let server = Server::start(*engine, settings)?;
        let scheme = match engine {
            Engine::Postgres => "postgres",
            Engine::MariaDb => "mysql",
        };
        let url = server.url("");
        ready = format!("{ready} {scheme}={}", url.trim_end_matches('/'));
        servers.push(server);
    }
    println!("{ready}");
    copy(&mut stdin(), &mut sink())?;
    Ok(())
}
