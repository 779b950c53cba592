//! Python's `configparser` as the witness for the reader of `gce_guest::config::ini`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gce_guest::config::ConfigFile;
use gce_guest::config::ini::{DEFAULT_SECTION, Document, Section, SyntaxKind};

use crate::root::TemporaryRoot;

/// Raw value, and the expanded one where it can be expanded.
type Value = (String, Option<String>);

/// What somebody read: section -> option -> value. `[DEFAULT]` is always there.
type Contents = BTreeMap<String, BTreeMap<String, Value>>;

/// What Python says about a file.
#[derive(Debug)]
struct Testimony {
    accepted: bool,
    contents: Contents,
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_corpus")
}

/// Python's answers to many texts, all in one.
fn ask(mode: &str, texts: &[Vec<u8>]) -> String {
    let mut python = Command::new("python3")
        .arg("-I")
        .arg(corpus().join("witness.py"))
        .arg(mode)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed for this test (Debian: python3-minimal)");
    let mut frames = Vec::new();
    for text in texts {
        frames.extend(format!("{}\n", text.len()).bytes());
        frames.extend(text);
    }
    let mut input = python.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(&frames).unwrap());
    let output = python.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success(), "the witness failed");
    String::from_utf8(output.stdout).unwrap()
}

/// What Python reads in many files.
fn testify(files: &[Vec<u8>]) -> Vec<Testimony> {
    let answers: Vec<Testimony> = ask("read", files)
        .split_inclusive("end\n")
        .map(|answer| testimony(answer.strip_suffix("end\n").unwrap()))
        .collect();
    assert_eq!(answers.len(), files.len());
    answers
}

/// What Python reads in one file that it must accept: section, option and expanded value.
pub(crate) fn python_reads(file: &[u8]) -> Vec<(String, String, String)> {
    let python = testify(&[file.to_vec()]).remove(0);
    assert!(
        python.accepted,
        "Python refuses {:?}",
        String::from_utf8_lossy(file)
    );
    let sections = python.contents.into_iter();
    sections
        .flat_map(|(section, options)| {
            options
                .into_iter()
                .map(move |(option, (_, value))| (section.clone(), option, value.unwrap()))
        })
        .collect()
}

fn testimony(answer: &str) -> Testimony {
    let mut testimony = Testimony {
        accepted: false,
        contents: Contents::new(),
    };
    let mut section = String::new();
    for line in answer.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            ["strict", word] => testimony.accepted = *word == "yes",
            ["section", name] => {
                section = text(name);
                testimony.contents.insert(section.clone(), BTreeMap::new());
            }
            ["option", name, raw, value] => {
                let value = (*value != "!").then(|| text(value));
                let options = testimony.contents.get_mut(&section).unwrap();
                options.insert(text(name), (text(raw), value));
            }
            other => panic!("the witness said {other:?}"),
        }
    }
    testimony
}

fn text(word: &str) -> String {
    let digits = if word == "-" { "" } else { word };
    let bytes = digits
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    String::from_utf8(bytes).unwrap()
}

/// A file as Python writes it again.
pub(crate) fn python_rewrites(file: &[u8]) -> String {
    let answer = ask("rewrite", &[file.to_vec()]);
    assert_ne!(
        answer,
        "!\n",
        "Python refuses {:?}",
        String::from_utf8_lossy(file)
    );
    text(answer.trim_end())
}

/// What our reader makes of a file, in the witness's words.
fn read(bytes: &[u8]) -> (Contents, Vec<SyntaxKind>) {
    let (document, problems) = Document::parse(bytes);
    let mut contents = Contents::new();
    let value = |section: &str, option: &str| {
        let raw = document.entry(section, option).unwrap().raw.clone();
        // Python refuses a lone percent sign; we take it as it is.
        let expanded = match document.value(section, option) {
            Ok(Some(expanded)) if !expanded.stray_percent => Some(expanded.text),
            _ => None,
        };
        (option.to_owned(), (raw, expanded))
    };
    let defaults: Vec<&str> = document
        .section(DEFAULT_SECTION)
        .into_iter()
        .flat_map(Section::entries)
        .map(|entry| entry.name.as_str())
        .collect();
    contents.insert(DEFAULT_SECTION.into(), BTreeMap::new());
    for section in document.sections() {
        let own = section.entries().iter().map(|entry| entry.name.as_str());
        let options = own
            .chain(defaults.iter().copied())
            .map(|option| value(&section.name, option))
            .collect();
        contents.insert(section.name.clone(), options);
    }
    let kinds = problems.iter().map(|problem| problem.kind).collect();
    (contents, kinds)
}

/// Compares our reading of a file with Python's; the text says where they differ.
fn difference(bytes: &[u8], python: &Testimony) -> Option<String> {
    let (ours, problems) = read(bytes);
    let mut report = String::new();
    if ours != python.contents {
        let _ = writeln!(report, "ours:   {ours:?}\npython: {:?}", python.contents);
    }
    // Text after a header is worth a word to a person, but Python accepts it; percent signs are no matter of syntax.
    let complaints = problems
        .iter()
        .any(|kind| *kind != SyntaxKind::TextAfterHeader);
    let expandable = ours
        .values()
        .flat_map(BTreeMap::values)
        .all(|(_, value)| value.is_some());
    if python.accepted == (complaints || !expandable) {
        let _ = writeln!(
            report,
            "python accepts: {}, we say {problems:?}",
            python.accepted
        );
    }
    (!report.is_empty()).then_some(report)
}

/// The files of the corpus, by name.
fn corpus_files() -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(corpus())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cfg"))
        .collect();
    paths.sort();
    let read = |path: PathBuf| (path.clone(), std::fs::read(path).unwrap());
    paths.into_iter().map(read).collect()
}

#[test]
fn the_corpus_is_read_as_python_reads_it() {
    let (paths, files): (Vec<PathBuf>, Vec<Vec<u8>>) = corpus_files().into_iter().unzip();
    assert!(paths.len() >= 100, "only {} files", paths.len());
    let differences: Vec<String> = paths
        .iter()
        .zip(&files)
        .zip(testify(&files))
        .filter_map(|((path, bytes), python)| {
            let name = path.file_name().unwrap().display();
            Some(format!("{name}\n{}", difference(bytes, &python)?))
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Pieces that the dialect is made of; a generated file is a sequence of them.
const PIECES: &[&[u8]] = &[
    b"[A]",
    b"[B]",
    b"[DEFAULT]",
    b"[a b]",
    b"[",
    b"]",
    b"a",
    b"A",
    b"b",
    b"key",
    b"=",
    b":",
    b" = ",
    b": ",
    b"%",
    b"%%",
    b"%(a)s",
    b"%(b)s",
    b"%(nope)s",
    b"%(",
    b")s",
    b"#",
    b";",
    b" #",
    b" ;",
    b" ",
    b"  ",
    b"\t",
    b"\x0b",
    b"\x1c",
    b"\xc2\xa0",
    b"\n",
    b"\n",
    b"\n",
    b"\n\n",
    b"\r\n",
    b"\r",
    b"1",
    b"yes",
    b"x y",
    b"\xe9",
    b"\xe2\x82",
    b"\x00",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\xc4\xb0",
];

/// Whole lines, so that files with much structure come up as well.
const LINES: &[&[u8]] = &[
    b"[A]",
    b"[B]",
    b"[A] tail",
    b" [C]",
    b"[DEFAULT]",
    b"a = 1",
    b"b: 2",
    b"A = 3",
    b"  more",
    b"    deeper",
    b"\tc = 4",
    b"",
    b"",
    b"   ",
    b"# note",
    b"  ; note",
    b"c = %(a)s",
    b"d = %(d)s",
    b"e =",
    b"prose",
    b"  prose",
    b"= lost",
    b"x y = z = 1",
    b"f = 5%%",
    b"g = 5%",
];

/// Lines that Python accepts, but for a continuation with nothing to continue; `@` is another number each time.
const GOOD_LINES: &[&str] = &[
    "[S@]",
    "o@ = 1",
    "O@: 2",
    "o@ =",
    "  more",
    "    deeper @",
    "\tlast",
    "",
    "",
    "# note",
    "   ; note",
    "o@ = a = b",
    "o@ = %% %%",
    "o@ = %(first)s",
    "  o@ = indented",
    "o@ = x ; kept",
    "o@:",
    "\u{a0} wide",
];

fn good_file(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut file = String::from("[DEFAULT]\nfirst = 1st\n[S]\n");
    let ending = ["\n", "\r\n", "\r"][random.usize(..3)];
    for number in 0..random.usize(..30) {
        let line = GOOD_LINES[random.usize(..GOOD_LINES.len())];
        file.push_str(&line.replace('@', &number.to_string()));
        file.push_str(ending);
    }
    file.into_bytes()
}

fn generated(random: &mut fastrand::Rng) -> Vec<u8> {
    if random.u8(..) < 140 {
        return good_file(random);
    }
    let mut file = Vec::new();
    // Most begin with a header: all that comes before the first one is the same single case.
    if random.u8(..) > 30 {
        file.extend(b"[A]\n");
    }
    let lines = random.bool();
    for _ in 0..random.usize(..40) {
        let (parts, end): (_, &[u8]) = if lines { (LINES, b"\n") } else { (PIECES, b"") };
        file.extend(parts[random.usize(..parts.len())]);
        file.extend(end);
    }
    file
}

#[test]
fn generated_files_are_read_as_python_reads_them() {
    const FILES: usize = 4000;
    // Always the same files: a difference is found by everyone or by no one.
    let mut random = fastrand::Rng::with_seed(314_159);
    let files: Vec<Vec<u8>> = (0..FILES).map(|_| generated(&mut random)).collect();
    let answers = testify(&files);
    let accepted = answers.iter().filter(|python| python.accepted).count();
    assert!(accepted > FILES / 4, "only {accepted} files are good ones");
    for (bytes, python) in files.iter().zip(&answers) {
        if let Some(report) = difference(bytes, python) {
            panic!("{:?}\n{report}", String::from_utf8_lossy(bytes));
        }
    }
}

#[test]
fn what_python_accepts_is_written_as_python_writes_it() {
    let mut random = fastrand::Rng::with_seed(271_828);
    let mut files: Vec<Vec<u8>> = corpus_files().into_iter().map(|(_, bytes)| bytes).collect();
    files.extend((0..1000).map(|_| good_file(&mut random)));
    let answers = ask("rewrite", &files);
    let mut compared = 0;
    for (bytes, answer) in files.iter().zip(answers.lines()) {
        if answer == "!" {
            continue;
        }
        let (file, findings) = ConfigFile::parse("file", bytes);
        assert_eq!(
            file.to_text(),
            text(answer),
            "{:?}",
            String::from_utf8_lossy(bytes)
        );
        assert!(
            findings
                .iter()
                .all(|finding| finding.problem.contains("is ignored"))
        );
        compared += 1;
    }
    assert!(compared > 500, "only {compared} were compared");
}

#[test]
fn headers_are_wrapped_as_python_wraps_them() {
    let mut random = fastrand::Rng::with_seed(161_803);
    let words = [
        "a",
        "to-day",
        "configuration",
        "/etc/default/instance_configs.cfg.template",
        "x-y-z",
    ];
    let long = "w".repeat(150);
    let texts: Vec<Vec<u8>> = (0..300)
        .map(|_| {
            let count = random.usize(1..40);
            let words = (0..count).map(|_| match random.u8(..) {
                0..10 => long.as_str(),
                other => words[usize::from(other) % words.len()],
            });
            words.collect::<Vec<_>>().join(" ").into_bytes()
        })
        .collect();
    let temporary = TemporaryRoot::new();
    let root = temporary.root();
    let answers = ask("wrap", &texts);
    for (header, answer) in texts.iter().zip(answers.lines()) {
        let header = std::str::from_utf8(header).unwrap();
        ConfigFile::default()
            .write(&root, "/etc/default/x.cfg", Some(header))
            .unwrap();
        let written = std::fs::read_to_string(root.path("/etc/default/x.cfg")).unwrap();
        // Python leaves a blank at the end of a line that a long word would not fit into.
        let python: Vec<String> = text(answer)
            .lines()
            .map(|line| line.trim_end().into())
            .collect();
        assert_eq!(written.trim_end().lines().collect::<Vec<_>>(), python);
    }
}
