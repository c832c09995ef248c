//! Charts as SVG. Colours are named, not chosen, here: each is a value that stands for a role, and the page's style sheet says what it
//! looks like in light and in dark (`page.css`).

use plotters::backend::SVGBackend;
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::coord::combinators::IntoLogRange;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Rectangle, Text};
use plotters::series::LineSeries;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, FontStyle, IntoFont, IntoTextStyle, RGBColor, ShapeStyle, TextStyle};

use super::figure::time;

/// How wide charts are; the page stretches them.
const WIDTH: u32 = 720;

/// A row of a chart of bars, and the column of its labels.
const ROW: i32 = 26;
const LABELS: i32 = 190;
const VALUES: i32 = 150;

const INK: RGBColor = RGBColor(0, 0, 0xF0);
const FAINT: RGBColor = RGBColor(0, 0, 0xF1);
const GRID: RGBColor = RGBColor(0, 0, 0xF2);

/// How many colours of subjects the style sheet has.
pub(super) const COLOURS: usize = 7;

/// The colour of a subject.
fn colour(subject: usize) -> RGBColor {
    RGBColor(0, 0, u8::try_from(subject % COLOURS).unwrap_or(0) + 1)
}

/// Bars under a common title.
pub(super) struct Group {
    pub(super) title: String,
    pub(super) bars: Vec<Bar>,
}

pub(super) struct Bar {
    pub(super) label: String,
    pub(super) value: f64,
    /// The value, as it is read.
    pub(super) text: String,
    /// The number of the subject, for its colour.
    pub(super) subject: usize,
}

/// Bars from left to right, all on one scale that begins at zero.
pub(super) fn bars(groups: &[Group]) -> anyhow::Result<String> {
    let rows = groups.iter().map(|group| group.bars.len() + 1).sum::<usize>();
    let height = ROW * i32::try_from(rows)?;
    draw(height.unsigned_abs(), |area| {
        let most = groups.iter().flat_map(|group| &group.bars).map(|bar| bar.value).fold(f64::MIN_POSITIVE, f64::max);
        let room = f64::from(WIDTH.cast_signed() - LABELS - VALUES);
        let mut top = 0;
        for group in groups {
            area.draw(&Text::new(group.title.clone(), (0, top + ROW / 2), words(INK, HPos::Left, FontStyle::Bold)))?;
            top += ROW;
            for bar in &group.bars {
                let (middle, end) = (top + ROW / 2, LABELS + (room * bar.value / most).round() as i32);
                let label = shortened(&bar.label);
                area.draw(&Text::new(label, (LABELS - 10, middle), words(INK, HPos::Right, FontStyle::Normal)))?;
                let corners = [(LABELS, top + 4), (end.max(LABELS + 1), top + ROW - 4)];
                area.draw(&Rectangle::new(corners, colour(bar.subject).filled()))?;
                area.draw(&Text::new(
                    bar.text.clone(),
                    (end + 8, middle),
                    words(FAINT, HPos::Left, FontStyle::Normal),
                ))?;
                top += ROW;
            }
        }
        Ok(())
    })
}

/// One subject's percentiles: the share of requests that were slower, and the time in microseconds.
pub(super) struct Curve<'a> {
    pub(super) subject: usize,
    pub(super) points: &'a [(f64, f64)],
}

/// Latency over percentiles: each further nine has as much room as the one before.
pub(super) fn curves(curves: &[Curve<'_>]) -> anyhow::Result<String> {
    let points = || curves.iter().flat_map(|curve| curve.points);
    if points().next().is_none() {
        // An axis without bounds has no end.
        return draw(300, |_| Ok(()));
    }
    let rarest = points().map(|(slower, _)| 1.0 / slower).fold(10.0, f64::max);
    let low = points().map(|(_, micros)| *micros).fold(f64::MAX, f64::min).max(0.1);
    let high = points().map(|(_, micros)| *micros).fold(low * 2.0, f64::max);
    draw(300, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(8)
            .margin_right(24)
            .x_label_area_size(32)
            .y_label_area_size(64)
            .build_cartesian_2d((1.0..rarest).log_scale(), (low * 0.8..high * 1.25).log_scale())?;
        chart
            .configure_mesh()
            .axis_style(GRID)
            .bold_line_style(GRID)
            .light_line_style(GRID.mix(0.0))
            .label_style(words(FAINT, HPos::Center, FontStyle::Normal))
            .x_label_formatter(&|rare| percentile(*rare))
            .y_label_formatter(&|micros| time(*micros))
            .draw()?;
        for curve in curves {
            let style = ShapeStyle::from(colour(curve.subject)).stroke_width(2);
            let points = curve.points.iter().map(|(slower, micros)| (1.0 / slower, *micros));
            chart.draw_series(LineSeries::new(points, style))?;
        }
        Ok(())
    })
}

/// One in ten is slower than the 90th percentile, one in a hundred than the 99th.
fn percentile(rare: f64) -> String {
    let text = format!("{:.4}", 100.0 - 100.0 / rare);
    format!("{} %", text.trim_end_matches('0').trim_end_matches('.'))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// An SVG of this height.
fn draw(height: u32, paint: impl FnOnce(&Area<'_>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut svg = String::new();
    let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
    paint(&area)?;
    area.present()?;
    drop(area);
    Ok(svg)
}

fn words(colour: RGBColor, at: HPos, style: FontStyle) -> TextStyle<'static> {
    ("sans-serif", 16, style)
        .into_font()
        .color(&colour)
        .into_text_style(&(WIDTH, WIDTH))
        .pos(Pos::new(at, VPos::Center))
}

/// Its end tells more of a URL than its middle.
fn shortened(label: &str) -> String {
    const MOST: usize = 26;
    let letters: Vec<char> = label.trim_start_matches("http://").chars().collect();
    if letters.len() <= MOST {
        return letters.into_iter().collect();
    }
    let (begin, end) = (&letters[..MOST / 2], &letters[letters.len() - MOST / 2 + 1..]);
    begin.iter().chain(&['…']).chain(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_is_text_of_an_svg_and_nothing_else() {
        let bar = Bar { label: "<script>&".to_owned(), value: 2.0, text: "2 µs".to_owned(), subject: 1 };
        let svg = bars(&[Group { title: "1 connection".to_owned(), bars: vec![bar] }]).unwrap();
        assert!(svg.contains("&lt;script&gt;&amp;") && !svg.contains("<script>"), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>") && svg.contains("#000002"), "{svg}");
    }

    #[test]
    fn a_curve_is_drawn_over_percentiles() {
        let points: Vec<(f64, f64)> = (0..=30).map(|step| (10_f64.powf(-f64::from(step) / 10.0), 100.0)).collect();
        let svg = curves(&[Curve { subject: 0, points: &points }]).unwrap();
        assert!(svg.contains("99 %") && svg.contains("99.9 %") && svg.contains("polyline"), "{svg}");
        assert_eq!(
            (percentile(1.0), percentile(10.0), percentile(10_000.0)),
            ("0 %".into(), "90 %".into(), "99.99 %".into())
        );
    }

    #[test]
    fn nothing_to_draw_is_drawn_as_nothing() {
        assert!(bars(&[]).is_ok() && curves(&[Curve { subject: 0, points: &[] }]).is_ok());
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shortened("http://127.0.0.1:8080/"), "127.0.0.1:8080/");
        let short = shortened("http://a-very-long-host-name.example.com:8080/and/a/path");
        assert_eq!(short.chars().count(), 26);
        assert!(short.ends_with("a/path"), "{short}");
    }
}
