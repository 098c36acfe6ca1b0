//! The crate as 1.0.x offers it: events in broadcast channels, contexts that answer.

use crate::peer::{self, Seen};
use msgtrans::event::{ClientEvent, ServerEvent};
use msgtrans::packet::{CompressionType, Packet};
use msgtrans::protocol::{
    QuicClientConfig, QuicServerConfig, TcpClientConfig, TcpServerConfig, WebSocketClientConfig, WebSocketServerConfig,
};
use msgtrans::transport::client::TransportClientBuilder;
use msgtrans::transport::{TransportOptions, TransportServerBuilder};
use msgtrans::{SessionId, TransportClient, TransportServer};
use serde_json::json;
use std::sync::Arc;
use tokio::sync::broadcast::error::RecvError;
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
            "tcp" => builder.with_protocol(TcpClientConfig::new(address).map_err(words)?),
            "ws" => builder.with_protocol(WebSocketClientConfig::new(uri).map_err(words)?),
            "quic" => builder.with_protocol(QuicClientConfig::new(address).map_err(words)?.with_verify_certificate(false)),
            other => return Err(format!("unknown scheme {other}")),
        };
        let mut client = builder.build().await.map_err(words)?;
        let mut events = client.subscribe_events();
        tokio::spawn(async move {
            loop {
                let one = match events.recv().await {
                    Ok(ClientEvent::MessageReceived(context)) => {
                        let data = context.data.clone();
                        if context.is_request() {
                            context.respond(peer::answer(&data));
                            Seen::Request
                        } else {
                            Seen::Message(data)
                        }
                    }
                    Ok(ClientEvent::Disconnected { reason }) => Seen::Closed(words(reason)),
                    Ok(ClientEvent::Error { error }) => Seen::Error(words(error)),
                    Ok(_) => continue,
                    Err(RecvError::Lagged(missed)) => Seen::Lagged(missed),
                    Err(RecvError::Closed) => return,
                };
                if seen.send(one).is_err() {
                    return;
                }
            }
        });
        client.connect().await.map_err(words)?;
        Ok(Client(Arc::new(client)))
    }

    pub async fn send(&self, data: Vec<u8>, code: u8) -> Result<(), String> {
        if code == 0 {
            return self.0.send(&data).await.map(drop).map_err(words);
        }
        let options = TransportOptions::new().with_compression(compression(code));
        self.0.send_with_options(data.into(), options).await.map_err(words)
    }

    pub async fn request(&self, data: &[u8], code: u8) -> Result<Vec<u8>, String> {
        if code == 0 {
            let result = self.0.request(data).await.map_err(words)?;
            let status = words(&result.status);
            return result.data.map(|data| data.to_vec()).ok_or(status);
        }
        let options = TransportOptions::new().with_compression(compression(code));
        let said = self.0.request_with_options(data.to_vec().into(), options).await;
        said.map(|bytes| bytes.to_vec()).map_err(words)
    }

    pub async fn close(&self, force: bool) {
        let _ = if force { self.0.force_disconnect().await } else { self.0.disconnect().await };
    }
}

#[derive(Clone)]
pub struct Session {
    server: Arc<TransportServer>, // not a clone of its own: each numbers its requests from 20000 on
    id: SessionId,
}

impl Session {
    pub async fn send(&self, data: Vec<u8>, code: u8) -> Result<(), String> {
        if code == 0 {
            return self.server.send(self.id, &data).await.map(drop).map_err(words);
        }
        let mut packet = Packet::one_way(1, data);
        packet.set_compression(compression(code));
        packet.compress_payload().map_err(words)?;
        self.server.send_to_session(self.id, packet).await.map_err(words)
    }

    pub async fn request(&self, data: &[u8]) -> Result<Vec<u8>, String> {
        let result = self.server.request(self.id, data).await.map_err(words)?;
        let status = words(&result.status);
        result.data.map(|data| data.to_vec()).ok_or(status)
    }

    pub async fn close(&self) {
        let _ = self.server.close_session(self.id).await;
    }

    pub async fn force(&self) {
        let _ = self.server.force_close_session(self.id).await;
    }
}

pub async fn serve(doors: &[(&str, String)]) -> Result<(), String> {
    let mut builder = TransportServerBuilder::new();
    for (name, address) in doors {
        builder = match *name {
            "tcp" => builder.with_protocol(TcpServerConfig::new(address).map_err(words)?),
            "ws" => builder.with_protocol(WebSocketServerConfig::new(address).map_err(words)?),
            _ => builder.with_protocol(QuicServerConfig::new(address).map_err(words)?),
        };
    }
    let server = Arc::new(builder.build().await.map_err(words)?);
    let mut events = server.subscribe_events();
    let told = server.clone();
    tokio::spawn(async move {
        loop {
            match events.recv().await {
                Ok(ServerEvent::ConnectionEstablished { session_id, .. }) => {
                    peer::say(json!({"event": "opened", "session": session_id.as_u64()}));
                }
                Ok(ServerEvent::ConnectionClosed { session_id, reason }) => {
                    peer::say(json!({"event": "closed", "session": session_id.as_u64(), "reason": words(reason)}));
                }
                Ok(ServerEvent::MessageReceived { session_id, context }) => {
                    let data = context.data.clone();
                    let session = Session { server: told.clone(), id: session_id };
                    if context.is_request() {
                        context.respond(peer::answer(&data));
                    } else if let Some(order) = peer::order(&data) {
                        tokio::spawn(peer::obey(session, order));
                    } else if let Err(why) = session.send(data, 0).await {
                        peer::say(json!({"event": "error", "error": why}));
                    }
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => peer::say(json!({"event": "lagged", "missed": missed})),
                Err(RecvError::Closed) => return,
            }
        }
    });
    server.serve().await.map_err(words)
}
