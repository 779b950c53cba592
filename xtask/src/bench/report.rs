//! What comes of the figures: a table for the terminal, a table and charts for the document.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::chart::{Chart, Curve, Scale};
use super::figures::Figures;
use super::rows::{self, Line, Row};
use super::sample::{Summary, Who};
use super::subject::Subject;

/// What is written between these lines belongs to the command; everything else to people.
const BEGIN: &str = "<!-- figures: written by `cargo xtask bench` -->";
const END: &str = "<!-- end of figures -->";

/// Who has a column.
const COLUMNS: [Who; 4] = [
    Who::Subject(Subject::GceGuest),
    Who::Subject(Subject::Python),
    Who::Subject(Subject::Go),
    Who::Baseline,
];

/// The whole table: a header and rows of cells.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
    missed: Vec<String>,
}

impl Table {
    /// The table of what was measured.
    pub(crate) fn of(figures: &Figures) -> Self {
        let mut table = Self {
            rows: Vec::new(),
            missed: Vec::new(),
        };
        for row in &rows::ROWS {
            for line in row.lines {
                for size in shown_sizes(figures, row, line) {
                    table.add(figures, row, line, size);
                }
            }
        }
        table
    }

    fn add(&mut self, figures: &Figures, row: &Row, line: &Line, size: u32) {
        let shown = line.unit.shown();
        let what = line
            .what
            .replace("{}", &super::chart::grouped(f64::from(size)));
        let mut cells = vec![what.clone()];
        for who in COLUMNS {
            let text = figures
                .summary(line.name, who, size)
                .map_or(String::new(), |summary| spread(&summary, shown));
            cells.push(match who {
                Who::Baseline if !text.is_empty() => format!("{}: {text}", row.baseline),
                _ => text,
            });
        }
        let ours = figures
            .summary(line.name, COLUMNS[0], size)
            .map(|summary| summary.median);
        let better = COLUMNS[1..3]
            .iter()
            .filter_map(|who| figures.summary(line.name, *who, size))
            .map(|summary| summary.median)
            .min_by(f64::total_cmp);
        cells.push(match (ours, better) {
            (Some(ours), Some(better)) if ours > 0.0 && better.is_finite() => {
                format!("{:.1} ×", better / ours)
            }
            _ => String::new(),
        });
        let aims = line
            .aims
            .iter()
            .filter(|aim| aim.at.is_none_or(|at| at == size));
        let mut texts = Vec::new();
        for aim in aims {
            let verdict = aim.goal.judge(figures, line.name, size, shown);
            let sign = match verdict.met {
                Some(true) => "✓",
                Some(false) => "✗",
                None => "?",
            };
            if verdict.met == Some(false) {
                self.missed.push(format!("{what}: {}", verdict.text));
            }
            texts.push(format!("{sign} {}", verdict.text));
        }
        cells.push(texts.join("; "));
        self.rows.push(cells);
    }

    fn header() -> [&'static str; 7] {
        [
            "",
            "gce-guest",
            "Python daemons",
            "Go agent",
            "For comparison",
            "Against the better",
            "Aim",
        ]
    }

    /// For a terminal: columns under one another.
    pub(crate) fn text(&self) -> String {
        let header = Self::header().map(str::to_owned).to_vec();
        let lines = || std::iter::once(&header).chain(&self.rows);
        let width = |column: usize| {
            lines()
                .map(|cells| cells[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..header.len()).map(width).collect();
        let mut text = String::new();
        for cells in lines() {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:<width$}"))
                .collect();
            text += padded.join("  ").trim_end();
            text.push('\n');
        }
        text
    }

    /// For the document.
    fn markdown(&self) -> String {
        let mut text = format!(
            "| {} |\n|{}\n",
            Self::header().join(" | "),
            " --- |".repeat(7)
        );
        for cells in &self.rows {
            text += &format!("| {} |\n", cells.join(" | "));
        }
        text
    }
}

/// The sizes of a line that have a row; of a long curve only the ends and where an aim is.
fn shown_sizes(figures: &Figures, row: &Row, line: &Line) -> Vec<u32> {
    let sizes = figures.sizes(line.name);
    if row.name != "changes" {
        return sizes;
    }
    let last = sizes.last().copied().unwrap_or(0);
    sizes
        .into_iter()
        .filter(|size| [0, last / 10, last].contains(size))
        .collect()
}

fn spread(summary: &Summary, shown: fn(f64) -> String) -> String {
    let (median, least, most) = (
        shown(summary.median),
        shown(summary.least),
        shown(summary.most),
    );
    if summary.count == 1 || least == most {
        return median;
    }
    format!("{median} ({least} – {most})")
}

/// A chart of a line along its sizes: its file, title, what is across, the line, and what the baseline is.
struct Drawn(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

const DRAWN: [Drawn; 4] = [
    Drawn(
        "users.svg",
        "New users at once: until the last one can log in",
        "users",
        "users",
        "",
    ),
    Drawn(
        "addresses-added.svg",
        "Forwarded addresses added at once",
        "addresses",
        "addresses-added",
        "ip -batch",
    ),
    Drawn(
        "addresses-removed.svg",
        "Forwarded addresses removed at once",
        "addresses",
        "addresses-removed",
        "ip -batch",
    ),
    Drawn(
        "queues.svg",
        "Queues and interrupts of a machine set up",
        "queues",
        "queues",
        "the shell script",
    ),
];

impl Drawn {
    fn chart(&self, figures: &Figures) -> Chart {
        let Self(_, title, across, line, baseline) = self;
        let curve = |(colour, who): (usize, &Who)| Curve {
            name: match who {
                Who::Subject(subject) => subject.title().to_owned(),
                Who::Baseline => (*baseline).to_owned(),
            },
            colour,
            points: figures.curve(line, *who),
        };
        Chart {
            title: (*title).to_owned(),
            across: (*across).to_owned(),
            scale: Scale::Logarithmic,
            curves: COLUMNS.iter().enumerate().map(curve).collect(),
            shown: rows::seconds,
        }
    }
}

/// Memory along many changes, which is about ours alone.
fn memory_chart(figures: &Figures) -> Chart {
    let curve = |line, name: &str, colour| Curve {
        name: name.to_owned(),
        colour,
        points: figures.curve(line, COLUMNS[0]),
    };
    Chart {
        title: "Memory of gce-guest along changes of keys and addresses".to_owned(),
        across: "changes".to_owned(),
        scale: Scale::Linear,
        curves: vec![
            curve("changes-rss", "resident", 0),
            curve("changes-anonymous", "anonymous", 2),
        ],
        shown: rows::bytes,
    }
}

/// The charts by their file names, with those curves that have points.
fn charts(figures: &Figures) -> Vec<(&'static str, Chart)> {
    let mut charts: Vec<(&str, Chart)> = DRAWN
        .iter()
        .map(|drawn| (drawn.0, drawn.chart(figures)))
        .collect();
    charts.push(("changes.svg", memory_chart(figures)));
    for (_, chart) in &mut charts {
        chart.curves.retain(|curve| !curve.points.is_empty());
    }
    charts.retain(|(_, chart)| !chart.curves.is_empty());
    charts
}

/// Writes the figures into the document, and the charts beside it.
///
/// # Errors
/// The document has no place for figures, or something cannot be written.
pub(crate) fn write(
    documents: &Path,
    figures: &Figures,
    table: &Table,
    circumstances: &[(&str, String)],
    notes: &[String],
) -> Result<()> {
    let directory = documents.join("benchmarks");
    fs::create_dir_all(&directory)?;
    let charts = charts(figures);
    for (name, chart) in &charts {
        let path = directory.join(name);
        fs::write(&path, chart.svg()).with_context(|| format!("write {}", path.display()))?;
    }
    let path = documents.join("benchmarks.md");
    let document = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let (before, rest) = document.split_once(BEGIN).unwrap_or((&document, ""));
    let after = rest.split_once(END).map(|(_, after)| after);
    let after =
        after.with_context(|| format!("{} has no lines {BEGIN} and {END}", path.display()))?;
    let section = section(table, &charts, circumstances, notes);
    ensure!(!section.contains(END), "the figures contain their own end");
    let document = format!("{before}{BEGIN}\n\n{section}\n{END}{after}");
    fs::write(&path, document).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}

fn section(
    table: &Table,
    charts: &[(&str, Chart)],
    circumstances: &[(&str, String)],
    notes: &[String],
) -> String {
    let mut text = table.markdown();
    text.push('\n');
    for (name, chart) in charts {
        text += &format!("![{}](benchmarks/{name})\n\n", chart.title);
    }
    if !table.missed.is_empty() {
        text += "Missed in this run:\n\n";
        for missed in &table.missed {
            text += &format!("* {missed}\n");
        }
        text.push('\n');
    }
    if !notes.is_empty() {
        text += "Not measured in this run:\n\n";
        for note in notes {
            text += &format!("* {note}\n");
        }
        text.push('\n');
    }
    text += "What each row does:\n\n";
    for row in &rows::ROWS {
        text += &format!("* `{}`. {}\n", row.name, row.about);
    }
    text += "\n| This run | |\n| --- | --- |\n";
    for (what, value) in circumstances {
        text += &format!("| {what} | {value} |\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::sample::Sample;

    fn figures() -> Figures {
        let sample = |who, size, value| Sample {
            line: "users".into(),
            who,
            size,
            value,
        };
        Figures::new(vec![
            sample(COLUMNS[0], 100, 0.1),
            sample(COLUMNS[0], 2500, 2.5),
            sample(COLUMNS[1], 2500, 100.0),
            sample(COLUMNS[2], 2500, 5.0),
        ])
    }

    #[test]
    fn the_document_keeps_what_people_wrote() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("benchmarks.md");
        fs::write(
            &path,
            format!("before\n{BEGIN}\nearlier figures\n{END}\nafter\n"),
        )
        .expect("written");
        let figures = figures();
        for _ in 0..2 {
            let table = Table::of(&figures);
            write(
                directory.path(),
                &figures,
                &table,
                &[("Kernel", "6".into())],
                &["x".into()],
            )
            .expect("written");
        }
        let document = fs::read_to_string(&path).expect("there");
        assert!(
            document.starts_with(&format!("before\n{BEGIN}\n")),
            "{document}"
        );
        assert!(document.ends_with(&format!("{END}\nafter\n")), "{document}");
        assert!(
            !document.contains("earlier figures") && document.contains("| Kernel | 6 |"),
            "{document}"
        );
        assert!(
            document.contains("* 2,500 new users at once: better predecessor ÷ 5: 2.00"),
            "{document}"
        );
        assert_eq!(document.matches(BEGIN).count(), 1);
        assert!(directory.path().join("benchmarks/users.svg").is_file());
        assert!(!directory.path().join("benchmarks/queues.svg").exists());
    }

    #[test]
    fn a_document_without_a_place_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("benchmarks.md");
        fs::write(&path, "text\n").expect("written");
        let figures = figures();
        assert!(write(directory.path(), &figures, &Table::of(&figures), &[], &[]).is_err());
        assert_eq!(fs::read_to_string(&path).expect("there"), "text\n");
    }
}
