//! Tokens are known by their digests, and a revocation is not taken back.

use super::*;

#[tokio::test]
async fn a_token_is_found_by_its_hash_and_by_nothing_else() {
    let (folder, store) = fresh();
    let made = store.add_token(by(), token("eyot_one")).await.unwrap();
    let expires = Some("2100-01-01T00:00:00.123456789Z".parse().unwrap());
    let other = store.add_token(By::new("bob"), NewToken { expires, ..token("eyot_two") }).await.unwrap();
    assert_eq!((&*made.created_by, &*other.created_by, made.revoked), ("alice", "bob", None));
    assert_eq!(store.token_by_hash(TokenHash::of("eyot_one")).await.unwrap(), Some(made.clone()));
    assert_eq!(store.token_by_hash(TokenHash::of("eyot_three")).await.unwrap(), None);
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(store.tokens().await.unwrap(), [made, other]);
    // The same token twice is one too many.
    assert!(store.add_token(by(), token("eyot_one")).await.is_err());
    assert_eq!(store.tokens().await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_revoked_token_is_kept_as_one_and_revoking_it_again_changes_nothing() {
    let (folder, store) = fresh();
    let made = store.add_token(by(), token("eyot_one")).await.unwrap();
    let revoked = store.revoke_token(by(), made.id).await.unwrap();
    assert!(revoked.revoked.is_some());
    assert_eq!(store.revoke_token(by(), made.id).await.unwrap(), revoked);
    let audit = store.audit(None, 9).await.unwrap();
    let lines: Vec<_> = audit.iter().map(|line| (&*line.action, &*line.target)).collect();
    let id = made.id.to_string();
    assert_eq!(lines, [("token.revoke", &*id), ("token.add", &*id)]);
    let detail: serde_json::Value = serde_json::from_str(&audit[1].detail).unwrap();
    assert_eq!((&detail["scope"], &detail["workers"][0]), (&"deploy".into(), &"shop-*".into()));
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(store.token_by_hash(TokenHash::of("eyot_one")).await.unwrap(), Some(revoked));
    let strange = TokenId::parse("01890000-0000-7000-8000-000000000000").unwrap();
    assert_eq!(store.revoke_token(by(), strange).await.unwrap_err(), StoreError::NoToken { id: strange });
}

#[tokio::test]
async fn a_token_cannot_be_changed_by_any_statement() {
    let (folder, store) = fresh();
    let one = store.add_token(by(), token("eyot_one")).await.unwrap();
    store.revoke_token(by(), one.id).await.unwrap();
    store.add_token(by(), token("eyot_two")).await.unwrap();
    drop(store);
    let connection = rusqlite::Connection::open(folder.path().join("state.db")).unwrap();
    let refused = |statement: &str| connection.execute(statement, []).unwrap_err().to_string();
    for column in ["id", "hash", "name", "scope", "workers", "hosts", "hint", "created", "created_by", "expires"] {
        assert!(refused(&format!("UPDATE tokens SET {column} = {column}")).contains("never changed"), "{column}");
    }
    assert!(refused("UPDATE tokens SET revoked = NULL").contains("a revocation is never changed"));
    assert!(refused("DELETE FROM tokens").contains("a token that holds is never deleted"));
}

#[tokio::test]
async fn no_file_of_a_store_holds_a_token() {
    let (folder, store) = fresh();
    let text = "eyot_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
    store.add_token(by(), token(text)).await.unwrap();
    for file in ["state.db", "state.db-wal"] {
        let bytes = std::fs::read(folder.path().join(file)).unwrap();
        assert!(!bytes.windows(20).any(|window| window == &text.as_bytes()[5..25]), "{file}");
    }
}

#[tokio::test]
async fn so_many_tokens_hold_at_once_and_no_more() {
    let (_folder, store) = fresh();
    let adds = (0..1_000).map(|number| store.add_token(by(), token(&number.to_string())));
    for added in futures_util::future::join_all(adds).await {
        added.unwrap();
    }
    let refused = store.add_token(by(), token("one more")).await.unwrap_err();
    assert_eq!(refused, StoreError::TooManyTokens { most: 1_000 });
    let first = store.tokens().await.unwrap().remove(0);
    store.revoke_token(by(), first.id).await.unwrap();
    store.add_token(by(), token("one more")).await.unwrap();
}
