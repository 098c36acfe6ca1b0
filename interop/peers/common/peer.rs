//! The verbs of a peer: what it does as a server, what it does as a client, and the JSON lines it prints.
//!
//! Not for anything that differs between versions of the crate: that is in `link`, of which each version has one.

use crate::link::{self, Client, Session};
use serde_json::{json, Value};
use std::io::Write;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20); // for anything that a scenario waits for
const QUIET: Duration = Duration::from_millis(1500); // after which nothing more is expected

/// What a client sees of its server, in the order in which the crate tells it.
#[allow(dead_code)] // 2.x does not lag
pub enum Seen {
    Message(Vec<u8>),
    Request,
    Closed(String),
    Error(String),
    Lagged(u64),
}

pub fn say(line: Value) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// `size` bytes that start with `text` and a space, and that compress well.
pub fn padded(text: &str, size: usize) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    if bytes.len() < size {
        bytes.push(b' ');
        bytes.resize(size, b'.');
    }
    bytes
}

/// The answer to a request: `give SIZE` is answered with that many bytes, all else with itself.
pub fn answer(request: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(request).ok().and_then(|text| text.strip_prefix("give ")) {
        Some(size) => padded("given", size.trim().parse().unwrap_or(0)),
        None => request.to_vec(),
    }
}

/// The words of a one-way message that starts with `do `.
pub fn order(message: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(message).ok()?.strip_prefix("do ")?;
    Some(text.trim_end_matches('.').split_whitespace().map(str::to_owned).collect())
}

fn number(words: &[String], index: usize, otherwise: usize) -> usize {
    words.get(index).and_then(|word| word.parse().ok()).unwrap_or(otherwise)
}

/// Does what a client asked for with a one-way message, in a task of its own.
pub async fn obey(session: Session, words: Vec<String>) {
    let (count, size) = (number(&words, 1, 1), number(&words, 2, 0));
    match words[0].as_str() {
        "ask" => {
            let all: Vec<_> = (0..count)
                .map(|index| {
                    let (session, question) = (session.clone(), padded(&format!("ask {index}"), size));
                    tokio::spawn(async move { session.request(&question).await == Ok(question.clone()) })
                })
                .collect();
            let mut answered = 0;
            for one in all {
                answered += usize::from(one.await.unwrap_or(false));
            }
            say(json!({"event": "asked", "answered": answered, "of": count}));
            let _ = session.send(format!("asked {answered} of {count}").into_bytes(), 0).await;
        }
        "burst" => {
            for index in 0..count {
                if let Err(why) = session.send(padded(&format!("burst {index}"), size), 0).await {
                    say(json!({"event": "error", "error": why}));
                }
            }
        }
        "compress" => {
            if let Err(why) = session.send(padded("compressed", size), count as u8).await {
                say(json!({"event": "error", "error": why}));
            }
        }
        "close" => session.close().await,
        "force" => session.force().await,
        other => say(json!({"event": "error", "error": format!("unknown order {other}")})),
    }
}

struct Flags {
    words: Vec<String>,
    named: std::collections::HashMap<String, String>,
}

impl Flags {
    fn read() -> Flags {
        let (mut words, mut named) = (Vec::new(), std::collections::HashMap::new());
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.strip_prefix("--") {
                Some(name) => {
                    named.insert(name.to_owned(), arguments.next().unwrap_or_default());
                }
                None => words.push(argument),
            }
        }
        Flags { words, named }
    }

    fn number(&self, name: &str, otherwise: u64) -> u64 {
        self.named.get(name).and_then(|value| value.parse().ok()).unwrap_or(otherwise)
    }
}

pub async fn main() {
    let flags = Flags::read();
    match flags.words.first().map(String::as_str) {
        Some("serve") => serve(&flags).await,
        Some("drive") if flags.words.len() >= 3 => drive(&flags).await,
        _ => {
            eprintln!("peer serve [--tcp H:P] [--ws H:P] [--quic H:P]");
            eprintln!("peer drive URI SCENARIO [--count N] [--size BYTES] [--window N] [--gap MS] [--settle MS]");
            std::process::exit(2);
        }
    }
}

async fn serve(flags: &Flags) {
    let mut doors = Vec::new();
    for name in ["tcp", "ws", "quic"] {
        if let Some(address) = flags.named.get(name) {
            doors.push((name, address.clone()));
        }
    }
    say(json!({"event": "serving", "doors": doors.iter().cloned().collect::<std::collections::HashMap<_, _>>()}));
    if let Err(why) = link::serve(&doors).await {
        say(json!({"event": "error", "error": why}));
        std::process::exit(1);
    }
}

async fn drive(flags: &Flags) {
    let (seen, events) = mpsc::unbounded_channel();
    let client = match Client::connect(&flags.words[1], seen).await {
        Ok(client) => client,
        Err(why) => {
            say(json!({"event": "refused", "error": why}));
            std::process::exit(1);
        }
    };
    say(json!({"event": "connected"}));
    tokio::time::sleep(Duration::from_millis(flags.number("settle", 150))).await;
    let count = flags.number("count", 1) as usize;
    let size = flags.number("size", 0) as usize;
    let gap = Duration::from_millis(flags.number("gap", 0));
    let window = flags.number("window", 1) as usize;
    match flags.words[2].as_str() {
        "oneway" => oneway(&client, events, count, size, gap, flags.number("compression", 0) as u8).await,
        "requests" => requests(&client, count, size, window, gap, flags.number("compression", 0) as u8).await,
        "listen" => {
            if let Some(text) = flags.named.get("say") {
                let _ = client.send(text.clone().into_bytes(), 0).await;
            }
            listen(events).await;
        }
        "leave" => {
            let said = client.request(b"leaving", 0).await;
            say(json!({"event": "left", "answered": said.is_ok()}));
        }
        other => {
            eprintln!("unknown scenario {other}");
            std::process::exit(2);
        }
    }
    client.close(flags.named.contains_key("force")).await;
    tokio::time::sleep(Duration::from_millis(300)).await; // a close is not waited for by the oldest versions
    say(json!({"event": "done"}));
}

/// Sends one-way messages and waits until all came back, or nothing has for a while.
async fn oneway(
    client: &Client,
    mut events: mpsc::UnboundedReceiver<Seen>,
    count: usize,
    size: usize,
    gap: Duration,
    compression: u8,
) {
    let mut refused = Vec::new();
    for index in 0..count {
        if let Err(why) = client.send(padded(&format!("oneway {index}"), size), compression).await {
            refused.push(why);
        }
        if !gap.is_zero() {
            tokio::time::sleep(gap).await;
        }
    }
    let (mut back, mut in_order, mut lagged) = (0, true, 0);
    let mut closed = Value::Null;
    while back < count {
        match tokio::time::timeout(QUIET, events.recv()).await {
            Ok(Some(Seen::Message(bytes))) => {
                in_order &= bytes == padded(&format!("oneway {back}"), size);
                back += 1;
            }
            Ok(Some(Seen::Closed(reason))) => {
                closed = json!(reason);
                break;
            }
            Ok(Some(Seen::Lagged(missed))) => lagged += missed,
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    say(json!({"event": "oneway", "sent": count, "back": back, "in_order": in_order, "lagged": lagged,
        "refused": refused, "closed": closed}));
}

/// Asks `count` times, with at most `window` requests in flight.
async fn requests(client: &Client, count: usize, size: usize, window: usize, gap: Duration, compression: u8) {
    let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let start = Instant::now();
    let all: Vec<_> = (0..window.max(1))
        .map(|_| {
            let (client, next) = (client.clone(), next.clone());
            tokio::spawn(async move {
                let (mut answered, mut wrong) = (0, Vec::new());
                loop {
                    let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if index >= count {
                        return (answered, wrong);
                    }
                    let question = padded(&format!("request {index}"), size);
                    match tokio::time::timeout(PATIENCE, client.request(&question, compression)).await {
                        Ok(Ok(said)) if said == question => answered += 1,
                        Ok(Ok(said)) => wrong.push(format!("{} bytes that are not the question", said.len())),
                        Ok(Err(why)) => wrong.push(why),
                        Err(_) => wrong.push("no answer".to_owned()),
                    }
                    if !gap.is_zero() {
                        tokio::time::sleep(gap).await;
                    }
                }
            })
        })
        .collect();
    let (mut answered, mut wrong) = (0, Vec::new());
    for one in all {
        let (right, others) = one.await.unwrap_or((0, vec!["a task failed".to_owned()]));
        answered += right;
        wrong.extend(others);
    }
    wrong.truncate(5);
    say(json!({"event": "requests", "asked": count, "answered": answered, "wrong": wrong,
        "seconds": start.elapsed().as_secs_f64()}));
}

/// Prints what arrives until the server closes.
async fn listen(mut events: mpsc::UnboundedReceiver<Seen>) {
    let (mut messages, mut requests, mut lagged) = (0, 0, 0);
    loop {
        match tokio::time::timeout(PATIENCE, events.recv()).await {
            Ok(Some(Seen::Message(bytes))) => {
                messages += 1;
                say(json!({"event": "message", "bytes": bytes.len(),
                    "text": String::from_utf8_lossy(&bytes[..bytes.len().min(40)])}));
            }
            Ok(Some(Seen::Request)) => requests += 1,
            Ok(Some(Seen::Closed(reason))) => {
                return say(json!({"event": "listened", "messages": messages, "requests": requests,
                    "lagged": lagged, "closed": reason}));
            }
            Ok(Some(Seen::Lagged(missed))) => lagged += missed,
            Ok(Some(Seen::Error(why))) => say(json!({"event": "error", "error": why})),
            Ok(None) | Err(_) => {
                return say(json!({"event": "listened", "messages": messages, "requests": requests,
                    "lagged": lagged, "closed": null}));
            }
        }
    }
}
