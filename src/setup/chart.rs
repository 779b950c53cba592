//! What a run spent its time on, as a bar chart for a terminal of 80 columns. Pure.

use super::record::{Result, Run, StepRecord};

/// The columns of the bars.
const WIDTH: usize = 34;

/// The columns of the names.
const NAME: usize = 18;

/// The chart: one line for each step, its bar where its work began and as long as it took.
#[must_use]
pub fn draw(run: &Run) -> String {
    let mut text = format!(
        "Set-up of {} took {} (the kernel was up for {:.0} s)\n\n",
        run.began
            .split('.')
            .next()
            .unwrap_or_default()
            .replace('T', " "),
        seconds(run.seconds),
        run.uptime
    );
    text += &format!("{:<NAME$} {:>8} {:>8}\n", "step", "began at", "took");
    let whole = run.seconds.max(f64::MIN_POSITIVE);
    for step in &run.steps {
        let line = format!(
            "{:<NAME$} {:>8} {:>8}  {}{}",
            step.step,
            seconds(step.start),
            seconds(step.seconds),
            bar(step, whole),
            mark(step.result)
        );
        text += line.trim_end();
        text.push('\n');
    }
    text
}

fn bar(step: &StepRecord, whole: f64) -> String {
    if step.result == Result::Skipped || step.result == Result::NotReached {
        return String::new();
    }
    let column = |at: f64| ((at / whole).clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
    let from = column(step.start).min(WIDTH - 1);
    let to = column(step.start + step.seconds).clamp(from + 1, WIDTH);
    format!("{}{}", " ".repeat(from), "#".repeat(to - from))
}

fn mark(result: Result) -> &'static str {
    match result {
        Result::Done | Result::Unchanged => "",
        Result::Failed => " failed",
        Result::Skipped => "skipped",
        Result::NotReached => "not reached",
    }
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.2} s")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(name: &str, result: Result, start: f64, seconds: f64) -> StepRecord {
        StepRecord {
            step: name.into(),
            result,
            detail: String::new(),
            start,
            seconds,
        }
    }

    #[test]
    fn bars_stand_where_the_work_was_and_fit_a_terminal() {
        let run = Run {
            instance: None,
            boot: String::new(),
            began: "2026-11-22T15:00:00.123Z".into(),
            uptime: 987_654_321.2,
            seconds: 2.0,
            steps: vec![
                step("metadata", Result::Done, 0.0, 1.0),
                step("host-keys", Result::Failed, 1.0, 1.0),
                step("missing-host-keys", Result::Unchanged, 0.0, 0.0),
                step("publish-host-keys", Result::NotReached, 2.0, 0.0),
            ],
        };
        let half = "#".repeat(17);
        let expected = format!(
            "Set-up of 2026-11-22 15:00:00 took 2.00 s (the kernel was up for 987654321 s)\n\n\
             step               began at     took\n\
             metadata             0.00 s   1.00 s  {half}\n\
             host-keys            1.00 s   1.00 s  {:17}{half} failed\n\
             missing-host-keys    0.00 s   0.00 s  #\n\
             publish-host-keys    2.00 s   0.00 s  not reached\n",
            ""
        );
        assert_eq!(draw(&run), expected);
        assert!(draw(&run).lines().all(|line| line.len() <= 80));
    }

    #[test]
    fn odd_times_draw_something() {
        let run = Run {
            instance: None,
            boot: String::new(),
            began: String::new(),
            uptime: 0.0,
            seconds: 0.0,
            steps: vec![
                step("a", Result::Done, 5.0, 1e9),
                step("b", Result::Done, 0.0, 0.0),
            ],
        };
        assert!(draw(&run).contains('#'));
    }
}
