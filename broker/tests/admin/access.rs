//! Who is kept out.

use crate::api::{admin, get, http, quiet};
use crate::support::Running;

#[tokio::test]
async fn foreign_hosts_and_origins_are_kept_out() {
    let running = quiet().await;
    let try_with = async |headers: &[&str]| {
        http(admin(&running), "GET", "/api/pending", headers, "")
            .await
            .status
    };
    assert_eq!(try_with(&["Host: 127.0.0.1:8088"]).await, 200);
    assert_eq!(try_with(&["Host: evil.example"]).await, 403);
    assert_eq!(
        try_with(&["Host: localhost", "Origin: http://evil.example"]).await,
        403
    );
    assert_eq!(
        try_with(&["Host: localhost", "Origin: http://localhost:8088"]).await,
        200
    );
    let health = http(
        admin(&running),
        "GET",
        "/health",
        &["Host: evil.example"],
        "",
    )
    .await;
    assert_eq!(health.status, 403);
    running.broker.shutdown().await;
}

#[tokio::test]
async fn with_a_token_set_nothing_but_health_goes_without() {
    let token = "0123456789abcdef";
    let set = |settings: &mut escrow_broker::config::Settings| {
        settings.admin_token = Some(escrow_broker::config::Secret(token.to_owned()));
    };
    let running = Running::start_with(set).await;
    assert_eq!(get(&running, "/health").await.status, 200);
    for path in [
        "/api/pending",
        "/api/status",
        "/metrics",
        "/api/pending/watch",
    ] {
        assert_eq!(get(&running, path).await.status, 401, "{path}");
    }
    let with = async |token: &str| {
        let bearer = format!("Authorization: Bearer {token}");
        http(
            admin(&running),
            "GET",
            "/api/status",
            &["Host: localhost", &bearer],
            "",
        )
        .await
        .status
    };
    assert_eq!(with(token).await, 200);
    assert_eq!(with("0123456789abcdeX").await, 401);
    assert_eq!(with("").await, 401);
    running.broker.shutdown().await;
}
