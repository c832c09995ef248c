//! One order, from names to a certificate and its key.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, Order, OrderStatus, RetryPolicy,
};
use zeroize::Zeroizing;

use super::trouble::{Trouble, told};
use crate::ingress::{Answering, Challenges};

/// How an authority is asked whether it is done: after a quarter of a second, then each time after twice as long, or when it says.
const PATIENCE: RetryPolicy =
    RetryPolicy::new().initial_delay(Duration::from_millis(250)).backoff(2.0).timeout(Duration::from_secs(120));

/// A certificate for these names: its chain and its key, both PEM, in one text.
pub(super) async fn place(
    account: &Account,
    names: &[String],
    challenges: &Challenges,
) -> Result<Zeroizing<String>, Trouble> {
    let identifiers: Vec<Identifier> = names.iter().cloned().map(Identifier::Dns).collect();
    let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
    // Until the authority has looked.
    let answering = answer(&mut order, challenges).await?;
    // A name that was validated a moment ago needs not be again.
    if order.state().status != OrderStatus::Ready {
        let ready = order.poll_ready(&PATIENCE).await;
        if !matches!(ready, Ok(OrderStatus::Ready)) {
            return Err(why(&mut order, ready.err()).await);
        }
    }
    drop(answering);
    let key = Zeroizing::new(order.finalize().await?);
    let chain = order.poll_certificate(&PATIENCE).await?;
    Ok(Zeroizing::new(format!("{}\n{}", chain.trim_end(), *key)))
}

/// Has the proof ready for each name, then says so.
async fn answer(order: &mut Order, challenges: &Challenges) -> Result<Vec<Answering>, Trouble> {
    let mut answering = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        let name = authorization.identifier().to_string();
        match authorization.status {
            AuthorizationStatus::Pending => {}
            AuthorizationStatus::Valid => continue,
            status => return Err(Trouble::refused(format!("{name}: its authorization is {status:?}"))),
        }
        let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
            return Err(Trouble::refused(format!("{name}: the authority does not validate it by tls-alpn-01")));
        };
        let digest = challenge.key_authorization().digest();
        answering.push(challenges.answer(&name, digest.as_ref()).map_err(Trouble::here)?);
        challenge.set_ready().await?;
    }
    Ok(answering)
}

/// The reason stands with the name that it is about.
async fn why(order: &mut Order, error: Option<Error>) -> Trouble {
    let mut reasons = Vec::new();
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        if authorization.refresh().await.is_err() {
            break;
        }
        let name = authorization.identifier().to_string();
        let problems = authorization.challenges.iter().filter_map(|challenge| challenge.error.as_ref());
        reasons.extend(problems.map(|problem| format!("{name}: {}", told(problem))));
    }
    match (reasons.is_empty(), error) {
        (false, _) => Trouble::refused(reasons.join("; ")),
        (true, Some(error)) => error.into(),
        (true, None) => Trouble::refused("the order has become invalid, and nothing says why"),
    }
}
