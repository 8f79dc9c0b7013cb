//! G4: the first decision wins. The same again is a success that publishes nothing, the opposite is refused and kept as evidence.

use escrow_coordinator::{EndOutcome, EndRefusal};
use escrow_protocol::transaction::Resolution;
use escrow_store::OpRecordKind;

use super::{Broken, Check, ensure};
use crate::model::{Decision, HalfId, Model};
use crate::seen::{Ended, Seen};

pub(super) struct FirstWins;

impl Check for FirstWins {
    fn guarantee(&self) -> &'static str {
        "G4 first decision wins"
    }

    fn see(&mut self, model: &Model, seen: &Seen<'_>) -> Result<(), Broken> {
        match seen {
            Seen::Ended(ended) => match ended.half {
                Some(half) if !ended.is_wrong => self::ended(model, half, ended),
                _ => Ok(()),
            },
            Seen::Operated {
                half,
                before,
                wanted,
                said,
            } => operated(model, *half, *before, *wanted, *said),
            Seen::Opened { reopened, .. } => match reopened.unexplained.first() {
                Some(text) => Err(text.clone()),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }
}

fn decision_of(resolution: Resolution) -> Option<Decision> {
    match resolution {
        Resolution::Commit => Some(Decision::Commit),
        Resolution::Rollback => Some(Decision::Rollback),
        Resolution::Unknown => None,
    }
}

pub(crate) fn in_our_words(decision: escrow_coordinator::Decision) -> Decision {
    match decision {
        escrow_coordinator::Decision::Commit => Decision::Commit,
        escrow_coordinator::Decision::Rollback => Decision::Rollback,
    }
}

fn ended(model: &Model, id: HalfId, ended: &Ended<'_>) -> Result<(), Broken> {
    let half = model.half(id);
    let wanted = decision_of(ended.resolution);
    match ended.outcome {
        EndOutcome::Decided(decided) => {
            let said = in_our_words(decided.decision);
            ensure!(
                Some(said) == wanted,
                "half {}: asked for {wanted:?}, got {said:?}",
                half.seq
            );
            let is_repeated = ended.before.is_some();
            ensure!(
                ended.before.is_none_or(|before| before == said),
                "half {} was {:?} and is now {said:?}",
                half.seq,
                ended.before
            );
            ensure!(
                decided.repeated == is_repeated,
                "half {}: repeated {} after {:?}",
                half.seq,
                decided.repeated,
                ended.before
            );
            ensure!(
                decided.published.is_some() == (!is_repeated && said == Decision::Commit),
                "half {}: published {:?}",
                half.seq,
                decided.published
            );
        }
        EndOutcome::Refused(EndRefusal::Opposite(first)) => {
            let first = in_our_words(first.decision);
            ensure!(
                ended.before == Some(first) && wanted.is_some_and(|wanted| wanted != first),
                "half {} was {:?}, asked for {wanted:?}, refused for {first:?}",
                half.seq,
                ended.before
            );
            let is_kept = ended.history.iter().any(|op| {
                op.kind == OpRecordKind::Conflict && decision_of(op.resolution) == wanted
            });
            ensure!(
                is_kept || half.touched,
                "half {}: no evidence of the attempt to undo it",
                half.seq
            );
        }
        EndOutcome::Noted(_) => ensure!(
            wanted.is_none(),
            "half {}: {wanted:?} was noted as UNKNOWN",
            half.seq
        ),
        EndOutcome::Refused(EndRefusal::TopicMissing(_)) => ensure!(
            ended.before.is_none() && wanted == Some(Decision::Commit),
            "half {}: no topic, before {:?}",
            half.seq,
            ended.before
        ),
        EndOutcome::Refused(EndRefusal::Store(_)) => {}
        EndOutcome::Refused(refusal) => ensure!(
            half.touched || model.derived_flipped || half.is_retired(model.log_start),
            "half {} is there and was refused: {refusal}",
            half.seq
        ),
    }
    Ok(())
}

fn operated(
    model: &Model,
    id: HalfId,
    before: Option<Decision>,
    wanted: Decision,
    said: Option<(Decision, bool)>,
) -> Result<(), Broken> {
    let Some((decision, repeated)) = said else {
        return Ok(());
    };
    let expected = before.unwrap_or(wanted);
    ensure!(
        decision == expected && (!repeated || before.is_some()),
        "half {} was {before:?}, an operator wanted {wanted:?} and got {decision:?}, repeated {repeated}",
        model.half(id).seq
    );
    Ok(())
}
