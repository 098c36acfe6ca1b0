#[path = "../../common/link_v1.rs"]
mod link;
#[path = "../../common/peer.rs"]
mod peer;

#[tokio::main]
async fn main() {
    peer::main().await;
}
