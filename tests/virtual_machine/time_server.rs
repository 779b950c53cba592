//! A time server (RFC 5905) beside the virtual machine, which answers with the real machine's time, or not at all.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// From 1900, where the protocol counts from, to 1970.
const EPOCH: u64 = 2_208_988_800;

pub(crate) struct TimeServer {
    answers: Arc<AtomicBool>,
}

impl TimeServer {
    /// Starts at the address where Compute Engine has one: that of the metadata server.
    pub(crate) fn start() -> Self {
        let socket = UdpSocket::bind(("169.254.169.254", 123)).unwrap();
        let answers = Arc::new(AtomicBool::new(true));
        let is_on = Arc::clone(&answers);
        thread::spawn(move || {
            let mut request = [0; 512];
            loop {
                let (length, from) = socket.recv_from(&mut request).unwrap();
                let received = now();
                if is_on.load(Ordering::SeqCst) && length >= 48 {
                    // Who asked may be gone.
                    let _ = socket.send_to(&answer(&request, received), from);
                }
            }
        });
        Self { answers }
    }

    /// Whether it answers from now on.
    pub(crate) fn answer(&self, on: bool) {
        self.answers.store(on, Ordering::SeqCst);
    }
}

/// The time in the protocol's form: seconds since 1900 with a fraction of 32 bits.
fn now() -> [u8; 8] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    (((now.as_secs() + EPOCH) << 32) | fraction).to_be_bytes()
}

fn answer(request: &[u8], received: [u8; 8]) -> [u8; 48] {
    let mut answer = [0; 48];
    // No leap second, version 4, mode server; stratum 2; the interval of the question; a precision of a microsecond.
    answer[..4].copy_from_slice(&[0x24, 2, request[2], 0xec]);
    // A root dispersion of a millisecond.
    answer[8..12].copy_from_slice(&66_u32.to_be_bytes());
    answer[12..16].copy_from_slice(&[10, 0, 0, 1]);
    answer[16..24].copy_from_slice(&received);
    answer[24..32].copy_from_slice(&request[40..48]);
    answer[32..40].copy_from_slice(&received);
    answer[40..48].copy_from_slice(&now());
    answer
}
