//! A web inside the sandbox: Cloud Storage and other hosts, by their names, with certificates of a test authority.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::{Daemon, poll_until, run};
use crate::support::vm::PATIENCE;

/// The hosts with a good certificate.
const HOSTS: [&str; 4] = [
    "storage.googleapis.com",
    "storage.example-universe.test",
    "other.example",
    "third.example",
];

/// The access token that metadata gives out.
pub(crate) const TOKEN: &str = "canary-of-the-token";

/// The web servers, and what they have seen.
pub(crate) struct Web {
    directory: PathBuf,
    _server: Daemon,
}

impl Web {
    /// Starts the servers and has this machine trust their authority.
    pub(crate) fn new() -> Self {
        let directory = PathBuf::from("/tmp/web");
        fs::create_dir_all(directory.join("objects")).unwrap();
        let web = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts_web/web.py");
        make_authority(&directory, "authority", P256);
        make_authority(&directory, "stranger", P256);
        let certificate = |name: &str, authority: &str, host: &str, days: i32| {
            make_certificate(&directory, name, P256, authority, host, days);
        };
        for host in HOSTS {
            certificate(host, "authority", host, 2);
        }
        certificate("stranger.example", "stranger", "stranger.example", 2);
        certificate("expired.example", "authority", "expired.example", -1);
        certificate("misnamed.example", "authority", "another.example", 2);
        trust(&directory, "authority");
        let mut hosts = fs::read_to_string("/etc/hosts").unwrap();
        for name in HOSTS.iter().chain(&[
            "stranger.example",
            "expired.example",
            "misnamed.example",
            "bucket.storage.googleapis.com",
        ]) {
            hosts += &format!("127.0.0.1 {name}\n");
        }
        fs::write("/etc/hosts", hosts).unwrap();
        let words = ["python3".as_ref(), web.as_os_str(), directory.as_os_str()];
        let server = Daemon::start("web", words);
        poll_until(PATIENCE, "the web is there", || {
            server.said().contains("ready")
        });
        Self {
            directory,
            _server: server,
        }
    }

    /// Has a host serve a file.
    pub(crate) fn serve(&self, host: &str, path: &str, contents: &[u8]) {
        let file = self.directory.join("objects").join(host).join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, contents).unwrap();
    }

    /// Every request so far: kind, host, path, authorization, tls.
    pub(crate) fn requests(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.directory.join("requests")).unwrap_or_default();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// The requests so far as `METHOD HOST PATH`, with ` TOKEN` where it was sent, and ` CLEAR` where TLS was missing.
    pub(crate) fn seen(&self) -> Vec<String> {
        let text = |request: &Value, field: &str| request[field].as_str().unwrap().to_owned();
        self.requests()
            .iter()
            .map(|request| {
                let mut seen = format!("{} {}", text(request, "host"), text(request, "path"));
                if text(request, "authorization").contains(TOKEN) {
                    seen += " TOKEN";
                }
                if request["tls"] != true {
                    seen += " CLEAR";
                }
                seen
            })
            .collect()
    }

    /// Starts `openssl s_server` for `other.example` on a port, with a key of a kind (what `openssl req` calls it) that an
    /// authority with the same kind of key has signed for. It serves `/script`, and says what it was asked for.
    pub(crate) fn openssl_server(
        &self,
        name: &str,
        kind: &str,
        port: u16,
        options: &str,
    ) -> Daemon {
        let (directory, authority) = (&self.directory, format!("authority-{name}"));
        if !directory.join(format!("{name}.pem")).exists() {
            make_authority(directory, &authority, kind);
            make_certificate(directory, name, kind, &authority, "other.example", 2);
            trust(directory, &authority);
            let script = "#!/bin/sh\necho fetched from the web\n";
            let length = script.len();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{script}");
            fs::write(directory.join("script"), answer).unwrap();
        }
        let pem = directory.join(format!("{name}.pem"));
        let pem = pem.to_str().unwrap();
        let words =
            format!("s_server -HTTP -accept 127.0.0.1:{port} -cert {pem} -key {pem} {options}");
        let mut command = Command::new("openssl");
        command.args(words.split(' ')).current_dir(directory);
        let server = Daemon::start_command(&format!("openssl-{port}"), &mut command);
        poll_until(PATIENCE, "openssl is there", || {
            server.said().contains("ACCEPT")
        });
        server
    }

    /// Forgets the requests so far.
    pub(crate) fn forget(&self) {
        // There may have been none.
        let _ = fs::remove_file(self.directory.join("requests"));
    }
}

fn openssl(directory: &Path, words: &str) {
    let words = words
        .split(' ')
        .map(|word| word.replace('@', directory.to_str().unwrap()));
    run(std::iter::once("openssl".to_owned()).chain(words));
}

/// The kind of key of most hosts.
pub(crate) const P256: &str = "ec -pkeyopt ec_paramgen_curve:prime256v1";

fn make_authority(directory: &Path, name: &str, kind: &str) {
    openssl(
        directory,
        &format!(
            "req -x509 -newkey {kind} -nodes -days 2 -subj /CN={name} -keyout @/{name}.key -out @/{name}.crt"
        ),
    );
}

/// Has this machine trust an authority.
fn trust(directory: &Path, authority: &str) {
    let store = "/etc/ssl/certs/ca-certificates.crt";
    let mut trusted = fs::read(store).unwrap();
    trusted.extend(fs::read(directory.join(format!("{authority}.crt"))).unwrap());
    fs::write(store, trusted).unwrap();
}

/// A certificate and its key in one file, `NAME.pem`, for a host name, valid for so many days from now.
fn make_certificate(
    directory: &Path,
    name: &str,
    kind: &str,
    authority: &str,
    host: &str,
    days: i32,
) {
    let extension = directory.join(format!("{name}.ext"));
    fs::write(extension, format!("subjectAltName=DNS:{host}\n")).unwrap();
    openssl(
        directory,
        &format!(
            "req -newkey {kind} -nodes -subj /CN={name} -keyout @/{name}.key -out @/{name}.csr"
        ),
    );
    openssl(
        directory,
        &format!(
            "x509 -req -in @/{name}.csr -CA @/{authority}.crt -CAkey @/{authority}.key -CAcreateserial -days {days} \
             -extfile @/{name}.ext -out @/{name}.crt"
        ),
    );
    let key = fs::read_to_string(directory.join(format!("{name}.key"))).unwrap();
    let certificate = fs::read_to_string(directory.join(format!("{name}.crt"))).unwrap();
    fs::write(directory.join(format!("{name}.pem")), key + &certificate).unwrap();
}
