//! The picture of the throughput: a line for each contender, over the number of flows.

use std::fmt::Display;

use anyhow::{Result, anyhow, ensure};
use plotters::prelude::{
    ChartBuilder, Circle, Color as _, IntoDrawingArea as _, LineSeries, PathElement, RGBColor,
    SVGBackend, SeriesLabelPosition, WHITE,
};

/// Width and height.
const SIZE: (u32, u32) = (860, 480);
/// Colours that people who do not tell red from green can tell apart (Okabe and Ito).
const COLOURS: [RGBColor; 8] = [
    RGBColor(0, 0, 0),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 158, 115),
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(120, 120, 120),
];

/// A contender's throughput.
pub struct Line {
    /// Its name in words.
    pub label: String,
    /// Place on the axis of flows, and packets a second.
    pub points: Vec<(usize, f64)>,
}

/// Draws the lines over an axis that has these labels; the text of an SVG file.
///
/// # Errors
/// When there is nothing to draw.
pub fn draw(axis: &[String], lines: &[Line]) -> Result<String> {
    ensure!(
        !axis.is_empty() && lines.len() <= COLOURS.len(),
        "{} labels and {} lines cannot be drawn",
        axis.len(),
        lines.len()
    );
    let rates = lines.iter().flat_map(|line| &line.points);
    let most = rates.map(|&(_, rate)| rate).fold(0.0, f64::max);
    ensure!(most > 0.0, "no throughput to draw");
    let mut text = String::new();
    draw_to(SVGBackend::with_string(&mut text, SIZE), axis, lines, most)?;
    Ok(text)
}

fn draw_to(backend: SVGBackend<'_>, axis: &[String], lines: &[Line], most: f64) -> Result<()> {
    let area = backend.into_drawing_area();
    area.fill(&WHITE).map_err(told)?;
    // Half a place is left free at both ends.
    let places = -0.25..axis.len() as f64 - 0.75;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(60)
        .build_cartesian_2d(places, 0.0..most * 1.1 / 1e6)
        .map_err(told)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE)
        // As many as make one for each place.
        .x_labels(2 * axis.len())
        .x_label_formatter(&|&place| name_of(axis, place))
        .y_label_formatter(&|rate| format!("{rate:.1}"))
        .x_desc("flows")
        .y_desc("million packets a second that arrive, one core")
        .draw()
        .map_err(told)?;
    for (line, colour) in lines.iter().zip(COLOURS) {
        let points: Vec<(f64, f64)> = line
            .points
            .iter()
            .map(|&(place, rate)| (place as f64, rate / 1e6))
            .collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))
            .map_err(told)?
            .label(&line.label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        let dots = points
            .into_iter()
            .map(|at| Circle::new(at, 3, colour.filled()));
        chart.draw_series(dots).map_err(told)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .draw()
        .map_err(told)?;
    area.present().map_err(told)
}

/// The label of a place; none for what lies between places.
fn name_of(axis: &[String], place: f64) -> String {
    let near = place.round();
    let is_place = (place - near).abs() < 1e-6 && near >= 0.0;
    let name = is_place.then(|| axis.get(near as usize)).flatten();
    name.cloned().unwrap_or_default()
}

fn told(error: impl Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis() -> Vec<String> {
        ["1", "1k", "64k"].map(String::from).into()
    }

    #[test]
    fn all_lines_and_all_places_of_the_axis_have_their_names() {
        let lines = [("limit", 3e6), ("nat44", 1e6)].map(|(label, rate)| Line {
            label: label.into(),
            points: vec![(0, rate), (1, rate), (2, rate)],
        });
        let text = draw(&axis(), &lines).expect("a picture");
        for name in ["limit", "nat44", "1", "1k", "64k", "flows"] {
            let shown = text.lines().filter(|line| line.trim() == name).count();
            assert_eq!(shown, 1, "{name} in {text}");
        }
        assert_eq!(text.matches("<circle").count(), 6);
    }

    #[test]
    fn nothing_is_no_picture() {
        assert!(draw(&axis(), &[]).is_err());
        assert!(draw(&[], &[]).is_err());
    }
}
