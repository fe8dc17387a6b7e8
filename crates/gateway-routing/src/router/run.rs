//! One call's way through its plan.

use std::{pin::pin, sync::Arc, time::Duration};

use gateway_core::{
    Admitted, Attempt, AttemptEnd, Call, Deployment, Fault, FaultKind, Mode, Operation, Origin, Reply, Retry, Tried, clock::Instant,
};
use tokio::time::{sleep, timeout_at};

use super::{Inner, record::Record};
use crate::{health::Pass, plan::Plan, providers::Entry, resolve::NO_DEPLOYMENT};

/// The state of one call while it is tried.
pub(super) struct Run<'r> {
    router: &'r Inner,
    admitted: &'r Admitted,
    rng: fastrand::Rng,
    attempts: u32,
    /// Where the latest attempt went.
    asked: Option<&'r Arc<Deployment>>,
    /// Spent waiting for providers, failed attempts and pauses included.
    waited: Duration,
    /// What failed, in words fit to be shown.
    failures: Vec<String>,
    last: Option<Fault>,
    /// Why an attempt was not made that would have been.
    veto: Option<Fault>,
    /// The prompt did not fit this deployment's window, so only larger ones are worth an attempt.
    too_small: Option<&'r Deployment>,
}

/// What to do after something has been tried.
enum Step {
    Done(Reply),
    /// The same deployment once more, after this pause.
    Again(Duration),
    Next,
    /// No other deployment would do better, or there is no time left.
    Stop,
}

/// How one attempt ended.
enum Outcome {
    Answer(Reply),
    Fault(Fault),
    OutOfTime,
}

impl<'r> Run<'r> {
    pub(super) fn new(router: &'r Inner, admitted: &'r Admitted) -> Self {
        let rng = router.rng.lock().fork();
        Self {
            router,
            admitted,
            rng,
            attempts: 0,
            asked: None,
            waited: Duration::ZERO,
            failures: Vec::new(),
            last: None,
            veto: None,
            too_small: None,
        }
    }

    pub(super) async fn serve(mut self) -> Result<Reply, Fault> {
        let served = self.follow().await;
        served.map_err(|fault| fault.with_tried(Tried { attempts: self.attempts, last: self.asked.cloned(), upstream_wait: self.waited }))
    }

    async fn follow(&mut self) -> Result<Reply, Fault> {
        let plan = self.await_plan().await?;
        let candidates: &'r [_] = &self.admitted.routed.candidates;
        for position in plan.order {
            let deployment = &candidates[position].deployment;
            if !self.fits(deployment) {
                continue;
            }
            match self.serve_at(deployment).await {
                Step::Done(reply) => return Ok(reply),
                Step::Stop => break,
                Step::Next | Step::Again(_) => {}
            }
        }
        Err(self.give_up())
    }

    /// The plan, waiting for a resting deployment if there is nothing else and it wakes soon enough.
    async fn await_plan(&mut self) -> Result<Plan, Fault> {
        let routed = &self.admitted.routed;
        let began = self.now();
        let plan = self.router.plan(routed, began, &mut self.rng);
        if !plan.order.is_empty() {
            return Ok(plan);
        }
        let limit = (began + self.router.policy.rest_wait_max).min(self.call().ctx().deadline);
        loop {
            // Listening before looking, so that no change slips through in between.
            let mut changed = pin!(self.router.health.changed());
            changed.as_mut().enable();
            let now = self.now();
            let plan = self.router.plan(routed, now, &mut self.rng);
            if !plan.order.is_empty() {
                self.waited += now - began;
                return Ok(plan);
            }
            let until = match plan.wakes.filter(|wakes| *wakes <= limit) {
                Some(wakes) => wakes,
                None if plan.probing && now < limit => limit,
                None => return Err(nothing_awake(&plan, now)),
            };
            // Whether the time has come or something has changed: look again.
            let _either = timeout_at(until, changed).await;
        }
    }

    /// Tries one deployment as often as its faults and the policy allow.
    async fn serve_at(&mut self, deployment: &'r Arc<Deployment>) -> Step {
        let policy = &self.router.policy;
        let Some(entry) = self.router.providers.entry(&deployment.provider) else { return Step::Next };
        for nth in 1..=policy.attempts_per_deployment {
            if self.attempts >= policy.attempts_per_call {
                return Step::Stop;
            }
            if self.deadline(deployment) <= self.now() {
                return self.too_late();
            }
            let mut attempt = self.next_attempt(deployment);
            if let Err(veto) = self.admitted.log.may_start(&mut attempt) {
                // Another deployment may be let through.
                self.veto = Some(veto);
                return Step::Next;
            }
            // Health may have changed since the plan was made, also by this call's own failures.
            let pass = match self.call().mode() {
                Mode::Test => None,
                Mode::Live => match self.router.health.admit(deployment, self.now()) {
                    Some(pass) => Some(pass),
                    None => return Step::Next,
                },
            };
            let step = match self.attempt(deployment, attempt, &entry, pass).await {
                Outcome::Answer(reply) => return Step::Done(reply),
                Outcome::Fault(fault) => self.after(deployment, nth, fault),
                Outcome::OutOfTime => self.after_deadline(deployment),
            };
            let Step::Again(pause) = step else { return step };
            if nth < policy.attempts_per_deployment && self.attempts < policy.attempts_per_call {
                sleep(pause).await;
                self.waited += pause;
            }
        }
        Step::Next
    }

    fn next_attempt(&self, deployment: &Arc<Deployment>) -> Attempt {
        Attempt {
            call: Arc::clone(self.call()),
            deployment: Arc::clone(deployment),
            ordinal: self.attempts + 1,
            deadline: self.deadline(deployment),
            output_limit: self.admitted.output_limit,
            log: Arc::clone(&self.admitted.log),
        }
    }

    /// One attempt, recorded from start to end whatever happens.
    async fn attempt(&mut self, deployment: &'r Arc<Deployment>, attempt: Attempt, entry: &Entry, pass: Option<Pass<'_>>) -> Outcome {
        self.attempts = attempt.ordinal;
        self.asked = Some(deployment);
        let deadline = attempt.deadline;
        let began = self.now();
        let mut record = Record::open(&*self.admitted.log, &entry.tally, &attempt);
        let answered = timeout_at(deadline, async {
            let mut reply = entry.provider.attempt(attempt).await?;
            record.metered(&reply.meter);
            let headed = self.now();
            reply.commit().await.map_err(|fault| fault.with_headers(std::mem::take(&mut reply.head.headers)))?;
            Ok((reply, headed))
        })
        .await;
        let now = self.now();
        match answered {
            Ok(Ok((mut reply, headed))) => {
                record.close(AttemptEnd::Served);
                if let Some(pass) = pass {
                    pass.served();
                }
                // A provider that measured its own wait leaves out the time it spent encoding, which is ours.
                let own = reply.head.upstream_wait;
                let wait = if own.is_zero() { now - began } else { own + (now - headed) };
                reply.head.upstream_wait = self.waited + wait;
                reply.head.attempts = self.attempts;
                Outcome::Answer(reply)
            }
            Ok(Err(fault)) => {
                record.close(AttemptEnd::failed(&fault));
                self.waited += now - began;
                if let Some(pass) = pass {
                    // A caller may shorten the time limits; a limit that is not the deployment's own says nothing about it.
                    let hurried = fault.kind() == FaultKind::Timeout && (now >= deadline || now - began < shortest_limit(deployment));
                    // Counting tokens costs nothing and has limits of its own at the provider: whoever floods it must not switch off chat.
                    let aside = self.admitted.routed.call.operation() != Operation::Chat;
                    if hurried || aside { drop(pass) } else { pass.failed(&fault, now) }
                }
                Outcome::Fault(fault)
            }
            Err(_elapsed) => {
                drop(record);
                self.waited += now - began;
                Outcome::OutOfTime
            }
        }
    }

    /// What a fault means for the rest of the call.
    fn after(&mut self, deployment: &'r Arc<Deployment>, nth: u32, fault: Fault) -> Step {
        let status = fault.upstream().map(|upstream| format!(" ({})", upstream.status.as_u16())).unwrap_or_default();
        self.failures.push(format!("{}/{}: {}{status}", deployment.provider, deployment.upstream_model, fault.kind().as_str()));
        let (kind, retry, retry_after) = (fault.kind(), fault.retry(), fault.retry_after());
        self.last = Some(fault);
        if kind == FaultKind::CallerGone {
            return Step::Stop;
        }
        if kind == FaultKind::ContextLength {
            self.too_small = Some(&**deployment);
            return Step::Next;
        }
        match retry {
            Retry::Never => Step::Stop,
            Retry::NextDeployment => Step::Next,
            Retry::SameDeployment => match self.router.policy.pause(nth, retry_after, &mut self.rng) {
                Some(pause) if self.now() + pause < self.deadline(deployment) => Step::Again(pause),
                Some(_) | None => Step::Next,
            },
        }
    }

    /// The attempt was cut off by a deadline.
    fn after_deadline(&mut self, deployment: &Deployment) -> Step {
        self.failures.push(format!("{}/{}: {}", deployment.provider, deployment.upstream_model, FaultKind::Timeout.as_str()));
        self.last = None;
        self.too_late()
    }

    /// There is no time for the deployment: by its own total limit, or by the call's, which ends everything.
    fn too_late(&mut self) -> Step {
        self.last.get_or_insert_with(|| {
            let message = "the call took longer than its total time limit; ask for a stream, for less output, or for more time";
            Fault::new(FaultKind::Timeout, Origin::Gateway, message).after_work_began()
        });
        if self.now() >= self.call().ctx().deadline { Step::Stop } else { Step::Next }
    }

    /// The last fault, with the attempts that were made, and the one that was not.
    fn give_up(&mut self) -> Fault {
        let failures = std::mem::take(&mut self.failures);
        let last = self.last.take().map(|fault| if failures.is_empty() { fault } else { fault.with_detail("attempts", failures) });
        match (last, self.veto.take()) {
            (Some(fault), Some(veto)) => stopped(fault, &veto),
            (Some(fault), None) | (None, Some(fault)) => fault,
            // Every deployment of the plan went to rest, or its provider away, between planning and asking.
            (None, None) => nothing_awake(
                &self.router.plan(&self.admitted.routed, self.router.clock.monotonic(), &mut self.rng.clone()),
                self.router.clock.monotonic(),
            ),
        }
    }

    /// Whether the deployment can take a prompt that was too long for another.
    fn fits(&self, deployment: &Deployment) -> bool {
        self.too_small.is_none_or(|small| match (deployment.limits.context_window, small.limits.context_window) {
            (Some(window), Some(too_small)) => window > too_small,
            (None, _) | (_, None) => false,
        })
    }

    /// The call's deadline, or the deployment's own total limit where that is shorter.
    fn deadline(&self, deployment: &Deployment) -> Instant {
        let ctx = self.call().ctx();
        ctx.deadline.min(ctx.read_at + deployment.timeouts.total)
    }

    fn call(&self) -> &'r Arc<Call> {
        &self.admitted.routed.call
    }

    fn now(&self) -> Instant {
        self.router.clock.monotonic()
    }
}

/// The last fault of a call that ended there because a further attempt was not allowed.
fn stopped(fault: Fault, veto: &Fault) -> Fault {
    let code = veto.code().unwrap_or(veto.kind().as_str()).to_owned();
    let fault = fault.in_our_words().with_detail("stopped_by", code).with_detail("detail", veto.message());
    veto.details().iter().fold(fault, |fault, (name, value)| fault.with_detail(name, value.clone()))
}

/// The least time in which the deployment, by its own limits, can time out.
fn shortest_limit(deployment: &Deployment) -> Duration {
    let limits = &deployment.timeouts;
    limits.connect.min(limits.first_byte_stream).min(limits.first_byte_whole).min(limits.between_chunks)
}

/// The refusal of a call whose every deployment rests.
fn nothing_awake(plan: &Plan, now: Instant) -> Fault {
    // Whole seconds, because that is what `Retry-After` can say; never zero, which would invite a loop.
    let wait = plan.wakes.map_or(1, |wakes| (wakes.saturating_duration_since(now).as_millis().div_ceil(1_000) as u64).max(1));
    let message =
        format!("every provider of this model is resting after repeated failures or limits; try again in {wait} s, or name another model");
    Fault::new(FaultKind::NoDeployment, Origin::Gateway, message).with_code(NO_DEPLOYMENT).with_retry_after(Some(Duration::from_secs(wait)))
}
