//! The metadata server of a measurement: our emulator, in a process of its own, and its control port.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::subject::Places;

const METADATA: &str = "169.254.169.254:80";
const CONTROL: &str = "127.0.0.1:8081";

/// A running emulator. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    control: BufReader<TcpStream>,
}

impl Server {
    /// Starts it with the example instance.
    ///
    /// # Errors
    /// It cannot be started, or its ports are taken.
    pub(crate) fn start(places: &Places) -> Result<Self> {
        let mut process = Command::new(places.tool())
            .args(["emulator", "--listen", METADATA, "--control", CONTROL])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("start the emulator")?;
        for _ in 0..1000 {
            if let Ok(stream) = TcpStream::connect(CONTROL) {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(Duration::from_secs(60)))?;
                let control = BufReader::new(stream);
                return Ok(Self { process, control });
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        process.kill()?;
        bail!("the emulator does not answer on {CONTROL}")
    }

    /// Puts a value at a path such as `instance/attributes/ssh-keys`.
    ///
    /// # Errors
    /// The emulator is gone or refuses.
    pub(crate) fn set(&mut self, path: &str, value: &Value) -> Result<()> {
        let request = Self::prepared(path, value);
        self.send(&request)
    }

    /// The request that puts a value, so that it costs nothing at the moment of measuring.
    pub(crate) fn prepared(path: &str, value: &Value) -> Vec<u8> {
        let body = value.to_string();
        format!(
            "PUT /metadata/{path} HTTP/1.1\r\nHost: control\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }

    /// Sends a prepared request in one piece and takes its answer.
    ///
    /// # Errors
    /// The emulator is gone or refuses.
    pub(crate) fn send(&mut self, request: &[u8]) -> Result<()> {
        self.exchange(request).map(drop)
    }

    /// How many hanging GETs it holds.
    ///
    /// # Errors
    /// The emulator is gone.
    pub(crate) fn waiting(&mut self) -> Result<u64> {
        let body = self.exchange(b"GET /state HTTP/1.1\r\nHost: control\r\n\r\n")?;
        let state: Value = serde_json::from_slice(&body)?;
        state["waiting"]
            .as_u64()
            .context("the state of the emulator")
    }

    fn exchange(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        self.control.get_mut().write_all(request)?;
        let mut status = String::new();
        self.control.read_line(&mut status)?;
        let mut length = 0;
        loop {
            let mut header = String::new();
            ensure!(
                self.control.read_line(&mut header)? > 0,
                "the emulator has ended"
            );
            if header.trim().is_empty() {
                break;
            }
            let lower = header.to_ascii_lowercase();
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
        }
        let mut body = vec![0; length];
        self.control.read_exact(&mut body)?;
        ensure!(
            status.contains(" 200 "),
            "the emulator refuses: {}{}",
            status,
            String::from_utf8_lossy(&body)
        );
        Ok(body)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Inside a sandbox everything ends with the measurement in any case.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
