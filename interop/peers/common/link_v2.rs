//! The crate as 2.x offers it: a handler for each session, sends that are confirmed, answers that are owed.

use crate::peer::{self, Seen};
use async_trait::async_trait;
use msgtrans::{
    ClientEvent, CloseReason, CompressionType, ConnectionInfo, Packet, QuicClientConfig, QuicServerConfig,
    RequestOptions, Responder, SendOptions, SessionHandler, SessionId, SessionSender, TcpClientConfig, TcpServerConfig,
    TransportClient, TransportClientBuilder, TransportError, TransportServer, TransportServerBuilder,
    WebSocketClientConfig, WebSocketServerConfig,
};
use serde_json::json;
use std::sync::{Arc, OnceLock};
use tokio::sync::mpsc;

fn words<E: std::fmt::Debug>(error: E) -> String {
    format!("{error:?}")
}

fn compression(code: u8) -> CompressionType {
    match code {
        1 => CompressionType::Zstd,
        2 => CompressionType::Zlib,
        _ => CompressionType::None,
    }
}

#[derive(Clone)]
pub struct Client(Arc<TransportClient>);

impl Client {
    pub async fn connect(uri: &str, seen: mpsc::UnboundedSender<Seen>) -> Result<Client, String> {
        let (scheme, address) = uri.split_once("://").ok_or("no scheme")?;
        let builder = TransportClientBuilder::new();
        let builder = match scheme {
            "tcp" => builder.protocol(TcpClientConfig::new(address).map_err(words)?),
            "ws" => builder.protocol(WebSocketClientConfig::new(uri).map_err(words)?),
            "quic" => builder.protocol(QuicClientConfig::new(address).map_err(words)?.danger_skip_verification()),
            other => return Err(format!("unknown scheme {other}")),
        };
        let mut client = builder.build().await.map_err(words)?;
        client.connect().await.map_err(words)?;
        let mut events = client.events().await.map_err(words)?;
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                let one = match event {
                    ClientEvent::Message(message) => Seen::Message(message.into_payload().to_vec()),
                    ClientEvent::Request(request) => {
                        let data = request.payload().to_vec();
                        request.respond_detached(peer::answer(&data));
                        Seen::Request
                    }
                    ClientEvent::Disconnected { reason } => Seen::Closed(words(reason)),
                    ClientEvent::Error { error } => Seen::Error(words(error)),
                    _ => continue,
                };
                if seen.send(one).is_err() {
                    return;
                }
            }
        });
        Ok(Client(Arc::new(client)))
    }

    pub async fn send(&self, data: Vec<u8>, code: u8) -> Result<(), String> {
        if code == 0 {
            return self.0.send_detached(&data).await.map(drop).map_err(words);
        }
        let options = SendOptions::new().compression(compression(code));
        self.0.send_with_options(data, options).await.map_err(words)
    }

    pub async fn request(&self, data: &[u8], code: u8) -> Result<Vec<u8>, String> {
        if code == 0 {
            return self.0.request(data).await.map(|bytes| bytes.to_vec()).map_err(words);
        }
        let options = RequestOptions::new().compression(compression(code));
        let said = self.0.request_with_options(data.to_vec().into(), options).await;
        said.map(|bytes| bytes.to_vec()).map_err(words)
    }

    pub async fn close(&self, force: bool) {
        let _ = if force { self.0.force_disconnect().await } else { self.0.disconnect().await };
    }
}

#[derive(Clone)]
pub struct Session {
    server: Arc<TransportServer>,
    id: SessionId,
}

impl Session {
    pub async fn send(&self, data: Vec<u8>, code: u8) -> Result<(), String> {
        let options = SendOptions::new();
        let options = if code == 0 { options } else { options.compression(compression(code)) };
        self.server.send_with_options(self.id, data.into(), options).await.map(drop).map_err(words)
    }

    pub async fn request(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        self.server.request(self.id, data).await.map(|bytes| bytes.to_vec()).map_err(words)
    }

    pub async fn close(&self) {
        let _ = self.server.close_session(self.id).await;
    }

    pub async fn force(&self) {
        let _ = self.server.force_close_session(self.id).await;
    }
}

struct Echo {
    server: OnceLock<Arc<TransportServer>>,
}

#[async_trait]
impl SessionHandler for Echo {
    async fn on_message(&self, id: SessionId, packet: Packet, sender: SessionSender) {
        let data = packet.into_payload();
        match (peer::order(&data), self.server.get()) {
            (Some(order), Some(server)) => {
                tokio::spawn(peer::obey(Session { server: server.clone(), id }, order));
            }
            _ => {
                if let Err(why) = sender.send_data(data).await {
                    peer::say(json!({"event": "error", "error": words(why)}));
                }
            }
        }
    }

    async fn on_request(&self, _id: SessionId, request: Packet, responder: Responder) {
        let _ = responder.respond(peer::answer(&request.into_payload())).await;
    }

    async fn on_connected(&self, id: SessionId, _info: ConnectionInfo) {
        peer::say(json!({"event": "opened", "session": id.as_u64()}));
    }

    async fn on_disconnected(&self, id: SessionId, reason: CloseReason) {
        peer::say(json!({"event": "closed", "session": id.as_u64(), "reason": words(reason)}));
    }

    async fn on_error(&self, _id: SessionId, error: TransportError) {
        peer::say(json!({"event": "error", "error": words(error)}));
    }
}

pub async fn serve(doors: &[(&str, String)]) -> Result<(), String> {
    let mut builder = TransportServerBuilder::new();
    for (name, address) in doors {
        builder = match *name {
            "tcp" => builder.protocol(TcpServerConfig::new(address).map_err(words)?),
            "ws" => builder.protocol(WebSocketServerConfig::new(address).map_err(words)?),
            _ => builder.protocol(QuicServerConfig::new(address).map_err(words)?),
        };
    }
    let echo = Arc::new(Echo { server: OnceLock::new() });
    let server = Arc::new(builder.build(echo.clone()).await.map_err(words)?);
    let _ = echo.server.set(server.clone());
    server.serve().await.map_err(words)
}
