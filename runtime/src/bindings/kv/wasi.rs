//! `wasi:keyvalue`, in the two drafts that toolchains have: 0.2.0-draft and 0.2.0-draft2. They differ in their cursors, in the type of
//! their numbers, and in that the second has `cas`.

use wasmtime::component::{HasSelf, Linker, Resource};

use super::{Cas, Open, PAGE, Refused};
use crate::bindings::Guest;
use crate::store::{Entry, Expected, KvError, Put};

mod draft {
    wasmtime::component::bindgen!({
        path: "wit/deps/keyvalue-draft",
        inline: "package eyot:keyvalue-draft; world host {
            import wasi:keyvalue/store@0.2.0-draft;
            import wasi:keyvalue/atomics@0.2.0-draft;
            import wasi:keyvalue/batch@0.2.0-draft;
        }",
        world: "eyot:keyvalue-draft/host",
        imports: { default: async | trappable },
        with: { "wasi:keyvalue/store.bucket": crate::bindings::kv::Open },
    });
}

mod draft2 {
    wasmtime::component::bindgen!({
        path: "wit/deps/keyvalue-draft2",
        inline: "package eyot:keyvalue-draft2; world host {
            import wasi:keyvalue/store@0.2.0-draft2;
            import wasi:keyvalue/atomics@0.2.0-draft2;
            import wasi:keyvalue/batch@0.2.0-draft2;
        }",
        world: "eyot:keyvalue-draft2/host",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::bindings::kv::Open,
            "wasi:keyvalue/atomics.cas": crate::bindings::kv::Cas,
        },
    });
}

pub(super) fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    draft::Host_::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)?;
    draft2::Host_::add_to_linker::<_, HasSelf<Guest>>(linker, |guest| guest)
}

type Bucket = Resource<Open>;
type Answer<T, E> = wasmtime::Result<Result<T, E>>;

/// What both drafts have, over the types of each.
macro_rules! keyvalue {
    ($draft:ident, $Cursor:ty, $keys:ident) => {
        impl From<Refused> for $draft::wasi::keyvalue::store::Error {
            fn from(refused: Refused) -> Self {
                match refused {
                    Refused::NoSuchNamespace => Self::NoSuchStore,
                    other => Self::Other(other.told()),
                }
            }
        }

        impl $draft::wasi::keyvalue::store::Host for Guest {
            async fn open(&mut self, identifier: String) -> Answer<Bucket, $draft::wasi::keyvalue::store::Error> {
                Ok(match Guest::open(self, &identifier) {
                    Ok(open) => Ok(self.table.push(open)?),
                    Err(refused) => Err(refused.into()),
                })
            }
        }

        impl $draft::wasi::keyvalue::store::HostBucket for Guest {
            async fn get(
                &mut self,
                bucket: Bucket,
                key: String,
            ) -> Answer<Option<Vec<u8>>, $draft::wasi::keyvalue::store::Error> {
                let open = self.opened(&bucket)?;
                let read = self.read(&open, key).await;
                Ok(read.map(|entry| entry.map(|entry| entry.value)).map_err(Into::into))
            }

            async fn set(
                &mut self,
                bucket: Bucket,
                key: String,
                value: Vec<u8>,
            ) -> Answer<(), $draft::wasi::keyvalue::store::Error> {
                let open = self.opened(&bucket)?;
                let written = self.write(&open, Put::new(key, value), Expected::Anything).await;
                Ok(written.map(|_| ()).map_err(Into::into))
            }

            async fn delete(
                &mut self,
                bucket: Bucket,
                key: String,
            ) -> Answer<(), $draft::wasi::keyvalue::store::Error> {
                let open = self.opened(&bucket)?;
                Ok(self.delete_one(&open, key, Expected::Anything).await.map_err(Into::into))
            }

            async fn exists(
                &mut self,
                bucket: Bucket,
                key: String,
            ) -> Answer<bool, $draft::wasi::keyvalue::store::Error> {
                let open = self.opened(&bucket)?;
                Ok(self.is_there(&open, key).await.map_err(Into::into))
            }

            async fn list_keys(
                &mut self,
                bucket: Bucket,
                cursor: Option<$Cursor>,
            ) -> Answer<$draft::wasi::keyvalue::store::KeyResponse, $draft::wasi::keyvalue::store::Error> {
                let open = self.opened(&bucket)?;
                let listed = self.$keys(&open, cursor).await;
                let page = |(keys, cursor)| $draft::wasi::keyvalue::store::KeyResponse { keys, cursor };
                Ok(listed.map(page).map_err(Into::into))
            }

            async fn drop(&mut self, bucket: Bucket) -> wasmtime::Result<()> {
                self.table.delete(bucket)?;
                Ok(())
            }
        }

        impl $draft::wasi::keyvalue::batch::Host for Guest {
            async fn get_many(
                &mut self,
                bucket: Bucket,
                keys: Vec<String>,
            ) -> Answer<Vec<Option<(String, Vec<u8>)>>, $draft::wasi::keyvalue::store::Error> {
                let open = self.opened(&bucket)?;
                let read = self.read_many(&open, keys.clone()).await;
                let named = |entries: Vec<Option<Entry>>| {
                    keys.into_iter().zip(entries).map(|(key, entry)| Some((key, entry?.value))).collect()
                };
                Ok(read.map(named).map_err(Into::into))
            }

            async fn set_many(
                &mut self,
                bucket: Bucket,
                pairs: Vec<(String, Vec<u8>)>,
            ) -> Answer<(), $draft::wasi::keyvalue::store::Error> {
                let open = self.opened(&bucket)?;
                let puts = pairs.into_iter().map(|(key, value)| Put::new(key, value)).collect();
                Ok(self.write_many(&open, puts).await.map_err(Into::into))
            }

            async fn delete_many(
                &mut self,
                bucket: Bucket,
                keys: Vec<String>,
            ) -> Answer<(), $draft::wasi::keyvalue::store::Error> {
                let open = self.opened(&bucket)?;
                Ok(Guest::delete_many(self, &open, keys).await.map_err(Into::into))
            }
        }
    };
}

keyvalue!(draft, u64, keys_by_number);
keyvalue!(draft2, String, keys_by_name);

impl Guest {
    async fn keys_by_number(
        &mut self,
        open: &Open,
        cursor: Option<u64>,
    ) -> Result<(Vec<String>, Option<u64>), Refused> {
        self.keys_from(open, cursor.unwrap_or(0), PAGE).await
    }

    async fn keys_by_name(
        &mut self,
        open: &Open,
        cursor: Option<String>,
    ) -> Result<(Vec<String>, Option<String>), Refused> {
        let page = self.list_from(open, String::new(), cursor, PAGE).await?;
        Ok((page.entries.into_iter().map(|listed| listed.key).collect(), page.next))
    }
}

impl draft::wasi::keyvalue::atomics::Host for Guest {
    /// The numbers of the store are signed: what is past them is refused.
    async fn increment(
        &mut self,
        bucket: Bucket,
        key: String,
        delta: u64,
    ) -> Answer<u64, draft::wasi::keyvalue::store::Error> {
        let open = self.opened(&bucket)?;
        let not_a_number = || Refused::from(KvError::NotANumber);
        let sum = match i64::try_from(delta) {
            Ok(delta) => self.add(&open, key, delta).await,
            Err(_) => Err(not_a_number()),
        };
        let sum = sum.and_then(|sum| u64::try_from(sum).map_err(|_| not_a_number()));
        Ok(sum.map_err(Into::into))
    }
}

impl draft2::wasi::keyvalue::atomics::Host for Guest {
    async fn increment(
        &mut self,
        bucket: Bucket,
        key: String,
        delta: i64,
    ) -> Answer<i64, draft2::wasi::keyvalue::store::Error> {
        let open = self.opened(&bucket)?;
        Ok(self.add(&open, key, delta).await.map_err(Into::into))
    }

    async fn swap(
        &mut self,
        cas: Resource<Cas>,
        value: Vec<u8>,
    ) -> Answer<(), draft2::wasi::keyvalue::atomics::CasError> {
        use draft2::wasi::keyvalue::atomics::CasError;
        let Cas { open, key, revision } = self.table.delete(cas)?;
        let expected = revision.map_or(Expected::Nothing, Expected::Revision);
        let refused = match self.write(&open, Put::new(key.clone(), value), expected).await {
            Ok(_) => return Ok(Ok(())),
            Err(refused) => refused,
        };
        if !refused.is_conflict() {
            return Ok(Err(CasError::StoreError(refused.into())));
        }
        // With what stands there now, for the next try.
        Ok(Err(match self.cas(open, key).await {
            Ok(cas) => CasError::CasFailed(self.table.push(cas)?),
            Err(refused) => CasError::StoreError(refused.into()),
        }))
    }
}

impl draft2::wasi::keyvalue::atomics::HostCas for Guest {
    async fn new(
        &mut self,
        bucket: Bucket,
        key: String,
    ) -> Answer<Resource<Cas>, draft2::wasi::keyvalue::store::Error> {
        let open = self.opened(&bucket)?;
        Ok(match self.cas(open, key).await {
            Ok(cas) => Ok(self.table.push(cas)?),
            Err(refused) => Err(refused.into()),
        })
    }

    /// What stands there now: a swap is against that.
    async fn current(&mut self, cas: Resource<Cas>) -> Answer<Option<Vec<u8>>, draft2::wasi::keyvalue::store::Error> {
        let Cas { open, key, .. } = self.table.get(&cas)?;
        let (open, key) = (open.clone(), key.clone());
        Ok(match self.current_of(&open, key).await {
            Ok((revision, value)) => {
                self.table.get_mut(&cas)?.revision = revision;
                Ok(value)
            }
            Err(refused) => Err(refused.into()),
        })
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl Guest {
    async fn cas(&mut self, open: Open, key: String) -> Result<Cas, Refused> {
        let (revision, _) = self.current_of(&open, key.clone()).await?;
        Ok(Cas { open, key, revision })
    }
}
