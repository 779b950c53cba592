//! Charts of growth curves as SVG: from figures to text, and nothing else.
//!
//! Both axes are logarithmic, or both linear. Colours follow the reader's scheme, light or dark; lines are told apart by the
//! name at their end and by their marks as well.

use std::fmt::Write;

/// A chart.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    pub(crate) title: String,
    /// What is on the horizontal axis.
    pub(crate) across: String,
    pub(crate) scale: Scale,
    pub(crate) curves: Vec<Curve>,
    /// How a height is written.
    pub(crate) shown: fn(f64) -> String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Logarithmic,
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// Which of the colours: 0 to 2, and 3 for what is there for comparison.
    pub(crate) colour: usize,
    pub(crate) points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 74.0;
const RIGHT: f64 = 150.0;
const TOP: f64 = 52.0;
const BOTTOM: f64 = 54.0;

/// The least distance between two names, in pixels.
const APART: f64 = 17.0;

const STYLE: &str = "
    .back { fill: #ffffff } .title { fill: #1b1f24; font-size: 15px; font-weight: 600 }
    text { font: 12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif; fill: #59636e }
    .grid { stroke: #e3e6ea; stroke-width: 1 } .axis { stroke: #9aa4ae; stroke-width: 1 }
    .curve { fill: none; stroke-width: 2.25; stroke-linejoin: round; stroke-linecap: round }
    .name { font-weight: 600 }
    .c0 { stroke: #1f6feb } .c1 { stroke: #c2560c } .c2 { stroke: #1a7f64 } .c3 { stroke: #6e7781; stroke-dasharray: 5 4 }
    .m0, .n0 { fill: #1f6feb } .m1, .n1 { fill: #c2560c } .m2, .n2 { fill: #1a7f64 } .m3, .n3 { fill: #6e7781 }
    @media (prefers-color-scheme: dark) {
      .back { fill: #0d1117 } .title { fill: #e6edf3 } text { fill: #9da7b3 }
      .grid { stroke: #232a33 } .axis { stroke: #57606a }
      .c0 { stroke: #6cb0ff } .c1 { stroke: #f2a35c } .c2 { stroke: #5fd0a8 } .c3 { stroke: #8b949e }
      .m0, .n0 { fill: #6cb0ff } .m1, .n1 { fill: #f2a35c } .m2, .n2 { fill: #5fd0a8 } .m3, .n3 { fill: #8b949e }
    }
";

impl Chart {
    /// The chart as an SVG document.
    pub(crate) fn svg(&self) -> String {
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\n\
             <style>{STYLE}</style>\n<rect class=\"back\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n\
             <text class=\"title\" x=\"{LEFT}\" y=\"28\">{title}</text>\n",
            title = escaped(&self.title)
        );
        self.draw_grid(&mut svg);
        let mut ends = Vec::new();
        for curve in &self.curves {
            ends.extend(self.draw_curve(&mut svg, curve));
        }
        for (y, curve) in spread(ends) {
            line(
                &mut svg,
                format_args!(
                    "<text class=\"name n{}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                    curve.colour,
                    WIDTH - RIGHT + 12.0,
                    y + 4.0,
                    escaped(&curve.name)
                ),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }

    fn draw_grid(&self, svg: &mut String) {
        let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
        for value in self.heights() {
            let y = self.y(value);
            line(
                svg,
                format_args!(
                    "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
                ),
            );
            line(
                svg,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LEFT - 8.0,
                    y + 4.0,
                    escaped(&(self.shown)(value))
                ),
            );
        }
        line(
            svg,
            format_args!(
                "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>"
            ),
        );
        for value in self.marks_across() {
            let x = self.x(value);
            line(
                svg,
                format_args!(
                    "<line class=\"axis\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>",
                    bottom + 5.0
                ),
            );
            line(
                svg,
                format_args!(
                    "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                    bottom + 19.0,
                    grouped(value)
                ),
            );
        }
        line(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
                f64::midpoint(LEFT, right),
                HEIGHT - 14.0,
                escaped(&self.across)
            ),
        );
    }

    /// Draws a curve with its marks; where its name should be.
    fn draw_curve<'a>(&self, svg: &mut String, curve: &'a Curve) -> Option<(f64, &'a Curve)> {
        let points: Vec<String> = curve
            .points
            .iter()
            .map(|(x, y)| format!("{:.1},{:.1}", self.x(*x), self.y(*y)))
            .collect();
        line(
            svg,
            format_args!(
                "<polyline class=\"curve c{}\" points=\"{}\"/>",
                curve.colour,
                points.join(" ")
            ),
        );
        for (x, y) in &curve.points {
            line(
                svg,
                format_args!(
                    "<circle class=\"m{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"><title>{}: {}: {}</title></circle>",
                    curve.colour,
                    self.x(*x),
                    self.y(*y),
                    escaped(&curve.name),
                    grouped(*x),
                    escaped(&(self.shown)(*y))
                ),
            );
        }
        curve.points.last().map(|(_, y)| (self.y(*y), curve))
    }

    fn x(&self, value: f64) -> f64 {
        let (least, most) = ends(self.points().map(|(x, _)| x));
        LEFT + 16.0 + self.share(value, least, most) * (WIDTH - LEFT - RIGHT - 32.0)
    }

    fn y(&self, value: f64) -> f64 {
        let heights = self.heights();
        let (least, most) = ends(heights.into_iter());
        HEIGHT - BOTTOM - self.share(value, least, most) * (HEIGHT - TOP - BOTTOM)
    }

    fn share(&self, value: f64, least: f64, most: f64) -> f64 {
        let of = |value: f64| match self.scale {
            Scale::Linear => value,
            Scale::Logarithmic => value.max(f64::MIN_POSITIVE).log10(),
        };
        let width = of(most) - of(least);
        if width > 0.0 {
            (of(value) - of(least)) / width
        } else {
            0.5
        }
    }

    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.curves
            .iter()
            .flat_map(|curve| curve.points.iter().copied())
    }

    /// The heights with a line across: the powers of ten around all points, or a few round numbers from 0 on.
    fn heights(&self) -> Vec<f64> {
        let (least, most) = ends(self.points().map(|(_, y)| y));
        match self.scale {
            Scale::Logarithmic => {
                let from = least.max(1e-9).log10().floor();
                let to = most.max(1e-9).log10().ceil().max(from + 1.0);
                let count = (to - from) as u32;
                (0..=count)
                    .map(|step| 10_f64.powf(from + f64::from(step)))
                    .collect()
            }
            Scale::Linear => {
                let rough = (most / 4.0).max(f64::MIN_POSITIVE);
                let unit = 2_f64.powf(rough.log2().ceil());
                (0..=4)
                    .map(|step| unit * f64::from(step))
                    .take_while(|value| *value < most + unit)
                    .collect()
            }
        }
    }

    /// Where the horizontal axis is marked: at the sizes that were measured, or at a few of them.
    fn marks_across(&self) -> Vec<f64> {
        let mut sizes: Vec<f64> = self.points().map(|(x, _)| x).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let step = sizes.len().div_ceil(6).max(1);
        sizes.into_iter().step_by(step).collect()
    }
}

fn line(svg: &mut String, text: std::fmt::Arguments) {
    // Writing to a string cannot fail.
    let _ = writeln!(svg, "{text}");
}

fn ends(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold(
        (f64::INFINITY, f64::NEG_INFINITY),
        |(least, most), value| (least.min(value), most.max(value)),
    )
}

/// Moves names apart that would stand on one another.
fn spread(mut ends: Vec<(f64, &Curve)>) -> Vec<(f64, &Curve)> {
    ends.sort_by(|one, other| one.0.total_cmp(&other.0));
    let mut last = f64::NEG_INFINITY;
    for (y, _) in &mut ends {
        *y = y.max(last + APART);
        last = *y;
    }
    ends
}

/// A whole number with commas between groups of three digits.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(scale: Scale) -> Chart {
        let curve = |name: &str, colour, points: &[(f64, f64)]| Curve {
            name: name.into(),
            colour,
            points: points.to_vec(),
        };
        Chart {
            title: "a < b & c".into(),
            across: "users".into(),
            scale,
            curves: vec![
                curve("one", 0, &[(100.0, 0.02), (1000.0, 0.2)]),
                curve("two", 1, &[(100.0, 0.03), (1000.0, 0.21)]),
            ],
            shown: |value| format!("{value:.3} s"),
        }
    }

    #[test]
    fn everything_is_inside_and_nothing_is_unescaped() {
        for scale in [Scale::Linear, Scale::Logarithmic] {
            let svg = chart(scale).svg();
            assert!(svg.contains("a &lt; b &amp; c"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert_eq!(svg.matches("<circle").count(), 4);
            for attribute in ["cx", "cy"] {
                for part in svg.split(&format!(" {attribute}=\"")).skip(1) {
                    let value: f64 = part
                        .split('"')
                        .next()
                        .and_then(|value| value.parse().ok())
                        .expect("a number");
                    assert!((0.0..=WIDTH).contains(&value), "{attribute} {value}");
                }
            }
        }
    }

    #[test]
    fn a_logarithmic_axis_is_lined_at_powers_of_ten() {
        assert_eq!(chart(Scale::Logarithmic).heights().len(), 3);
        let heights = chart(Scale::Linear).heights();
        assert!(
            heights[0] == 0.0 && heights.last().is_some_and(|last| *last >= 0.21),
            "{heights:?}"
        );
    }

    #[test]
    fn names_do_not_stand_on_one_another() {
        let chart = chart(Scale::Linear);
        let ends = spread(vec![(100.0, &chart.curves[0]), (101.0, &chart.curves[1])]);
        assert!(ends[1].0 - ends[0].0 >= APART);
    }

    #[test]
    fn numbers_are_grouped() {
        for (value, text) in [
            (0.0, "0"),
            (999.0, "999"),
            (1000.0, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(grouped(value), text);
        }
    }
}
