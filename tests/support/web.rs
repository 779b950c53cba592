//! A web inside the sandbox: Cloud Storage and other hosts, by their names, with certificates of a test authority.

use std::fs;
use std::path::{Path, PathBuf};

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
        make_authority(&directory, "authority");
        make_authority(&directory, "stranger");
        for host in HOSTS {
            make_certificate(&directory, host, "authority", host, 2);
        }
        make_certificate(
            &directory,
            "stranger.example",
            "stranger",
            "stranger.example",
            2,
        );
        make_certificate(
            &directory,
            "expired.example",
            "authority",
            "expired.example",
            -1,
        );
        make_certificate(
            &directory,
            "misnamed.example",
            "authority",
            "another.example",
            2,
        );
        let store = "/etc/ssl/certs/ca-certificates.crt";
        let mut trusted = fs::read(store).unwrap();
        trusted.extend(fs::read(directory.join("authority.crt")).unwrap());
        fs::write(store, trusted).unwrap();
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

fn make_authority(directory: &Path, name: &str) {
    openssl(
        directory,
        &format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name} \
             -keyout @/{name}.key -out @/{name}.crt"
        ),
    );
}

/// A certificate and its key in one file, `NAME.pem`, for a host name, valid for so many days from now.
fn make_certificate(directory: &Path, name: &str, authority: &str, host: &str, days: i32) {
    let extension = directory.join(format!("{name}.ext"));
    fs::write(extension, format!("subjectAltName=DNS:{host}\n")).unwrap();
    openssl(
        directory,
        &format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN={name} -keyout @/{name}.key -out @/{name}.csr"
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
