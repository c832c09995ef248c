# $name (String): the visitor, as in ?name=Ada
greeting = Bonjour, { $name } !
greeting-stranger = Bonjour !
# $count (Number): unread messages. French counts 0 as singular.
unread = { $count ->
    [0] Vous n’avez aucun message non lu.
    [one] Vous avez { $count } message non lu.
   *[other] Vous avez { $count } messages non lus.
}
choose = Choisir une langue : /language/en, /language/de, /language/fr, /language/ja
