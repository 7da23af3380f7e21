//! Plans, as `--dry-run` shows them.

use super::output::{Output, Stop, plain};
use crate::model::{PlanView, StepView};

/// Writes a plan.
pub(super) fn show(output: Output, plan: &PlanView, json: bool) -> Result<(), Stop> {
    if json { output.json(plan) } else { output.print(&text(plan)) }
}

fn text(plan: &PlanView) -> String {
    let PlanView { name, taskspace, steps, uncommitted } = plan;
    let mut head = format!("{name} of {taskspace} would do this:\n");
    if let Some(count) = uncommitted {
        head = format!("{count} changed or untracked files would come along.\n{head}");
    }
    let steps = steps.iter().enumerate().map(|(index, step)| step_text(index, step));
    plain(&(head + &steps.collect::<String>()))
}

/// Returns one step; people count from 1.
fn step_text(index: usize, step: &StepView) -> String {
    let StepView { title, act, undo, needs } = step;
    let mut text = format!("{:>3}. {title}", index + 1);
    if !needs.is_empty() {
        let needs: Vec<String> = needs.iter().map(|need| (need + 1).to_string()).collect();
        text += &format!(" (after {})", needs.join(", "));
    }
    text += &format!("\n       {act}\n");
    if let Some(undo) = undo {
        text += &format!("       undo: {undo}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_tells_order_needs_and_what_takes_back() {
        let step = |title: &str, undo: Option<&str>, needs: &[usize]| StepView {
            title: title.to_owned(),
            act: format!("make the {title}"),
            undo: undo.map(str::to_owned),
            needs: needs.to_vec(),
        };
        let plan = PlanView {
            name: "create".to_owned(),
            taskspace: "fix".parse().unwrap(),
            uncommitted: Some(12),
            steps: vec![
                step("volume", Some("remove the volume"), &[]),
                step("files\u{7}", None, &[]),
                step("pod", Some("remove the pod"), &[0, 1]),
            ],
        };
        insta::assert_snapshot!(text(&plan), @r"
        12 changed or untracked files would come along.
        create of fix would do this:
          1. volume
               make the volume
               undo: remove the volume
          2. files�
               make the files�
          3. pod (after 1, 2)
               make the pod
               undo: remove the pod
        ");
    }
}
