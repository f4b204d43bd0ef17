"""The words of booking talk: every table by which a step is read from a text, in one place.

All patterns meet lower-case text. They were tuned on the training dialogues of the Schema-Guided Dialogue
set's hotel services and on the built-in dialogues, hotels first; restaurants and flights add a few words.
"""

from __future__ import annotations

import re

ASKED = {
    "place": (
        r"\bwhere(abouts?)?\b(?! (is|are) (it|they|the hotel))|(which|what|name of the|specific|"
        r"particular) (\w+ )?(city|cities|area|location|place|destination|town|region)|\b(city|area|"
        r"location|destination)s?\b"
    ),
    "hotel": (
        r"(which|what|particular|specific|preferred|any|certain|name of the|of a|about the) (\w+ "
        r")?hotels?\b(?! room)|hotel('s)? (name|in mind|preference)|hotel (do|would|are|did) you|"
        r"preference (in|on|for|of) (the |a )?hotel|hotel (that )?you('d|'re|r|\b)"
    ),
    "check_in": (
        r"check(ing)?[- ]?in\b|arriv|\bstart(?! (the|my|a) search)|(?<!until )(?<!out )\bwhen\b"
        r"(?!.*(check(ing)?[- ]?out|leav|depart))|begin|"
        r"\bget there|(what|which) (\w+ )?(dates?|days?)\b(?!.*(check(ing)?[- ]?out|leav|depart))|from "
        r"(what|which)"
    ),
    "check_out": (
        r"check(ing)?[- ]?(in )?(and |or |& |/ ?)?(check(ing)?[- ]?)?out\b|leav(e|ing)|depart|\bend "
        r"(date|day)|until (what|which|when)|(what|which) (\w+ ){0,3}(dates|days)\b(?!.*check(ing)?[- "
        r"]?in)|(in|arrival) and out"
    ),
    "nights": (
        r"how (many|long)( \w+){0,3} (nights?|days?)|how long|(number|length|duration) of (the |your "
        r")?(nights?|days?|stay)|how many (nights?|days?)|duration"
    ),
    "people": (
        r"(how (many|may|any)|number of|count of|amount of)( \w+){0,2} (people|persons?|guests?|adults?|"
        r"travell?ers?|visitors|members|individuals|friends|of you)|how (large|big|many).*\b(group|party|"
        r"people)\b|how many (are|will|is) |(group|party) size|(size of|number in) (the |your )?(group|"
        r"party)|just (going to be )?you\b"
    ),
    "rooms": r"(how many|number of|amount of)( \w+){0,2} rooms?",
    "stars": r"(how many|what|which|minimum)( \w+){0,2} (star|rating)",
    "price": r"budget|price range|(how much|what price).*(pay|spend)",
    "room": r"(kind|type|sort) of rooms?\b|room type",
    "name": r"(which|what|whose) (is your )?name|(your|guest'?s?|full) name",
    "choice": (
        r"which (one|room|hotel|of (them|these|those))?\b.*(prefer|like|take|choose)|which do you "
        r"prefer"
    ),
    "reference": r"\breference\b",
    "cuisine": r"\bcuisines?\b|\b(kind|type|sort) of food\b",
    "time": r"\b(what|which) time\b(?!.*check)",
    "origin": r"\bfly(ing)? from\b",
    "destination": r"\bfly(ing)? to\b",
    "change": r"what (would you like|should i|do you want)( me)?( to)? change",
}
"""What an asking sentence asks about."""

ASKING = (
    r"\?|please\W*$|^(is|are|do|does|did|can|could|would|will|shall|should|may|any\w*) |\b(what|whats|"
    r"what's|which|where|when|whose|how (many|long|large|big|much))\b|\b(can|could|would|will|may|do) "
    r"(you|i)\b|\b(please|kindly) (\w+ )?(tell|give|provide|specify|mention|let|enter|share|choose|"
    r"select|state)|\b(tell|give|let) me\b|\bi('ll| will)?( also)? need\b|\bany (specific|particular|"
    r"desired|preferred)"
)
"""A sentence that asks, with or without a question mark."""

SEEKING = (
    r"\bplease\W*$|\bdates?\W*$|\byour \w+ (in|out)\b|\bhow about\b|\bpreference|\bwhereabouts?\b|"
    r"\b(what|whats|which|where|when|whose|how (many|long|large|big))\b|\b(tell|give|let|provide|"
    r"specify|mention|share)\b|\bneed\b|\bany\b|\bdo you (already |also )?(have|know)\b|\bhave you\b|"
    r"\b(desired|preferred|specific|particular|in mind)\b|\breference\b|\bname\b|\bduration\b|\bjust\b"
)
"""An asking sentence that wants more than a yes or no."""

CONFIRMING = (
    r"\bconfirm(ing)?\b|\b(is|was|are) (that|this|it|everything|these|the (details|info\w*)|all (that|"
    r"this)|they) (all )?(correct|right|ok|okay|accurate|good|fine)|\bcorrect\b\W*$|\bright\b\W*$|"
    r"\bdouble[- ]check|\bverify|make sure|is (that|this) what you"
)
MORE = (
    r"\banything (i can|you (need|want|like))\b|help you (again|with another)|still help|further "
    r"assist|check another|\bneed my\b|\b(need|want|something) more\b|\b(any|some)[- ]?(thing|one)? "
    r"?(else|more|further|other)\b|\b(what|how) else\b|\belse (that )?(i|can|you)\b|(more|further|"
    r"other|additional|any) (\w+ )?(help|assistance|queries|questions|needs)|any (other )?inform\w*|"
    r"help you (out )?(with )?(any|some)(thing|one)?|(some|any)thing (different|more|further)|(try|"
    r"look\w*|search\w*)( for)? (another|different|other)|help (you )?further|assist (you )?further|"
    r"other (dates|requirements|way)|will that be all|anything additional"
)
BOOKED = (
    r"succ?es+f?|\bis now (a|an|one|two|three|four|\d)\b|\b(been|was) (changed|updated|moved|"
    r"accepted)\b|\byou have (reserved|booked)\b|you (reserved|booked)\b|managed to (book|reserve)|"
    r"went (through|thru)|(is|are|was|were|has been|have been|been|'s|got) (now |already |all |just "
    r")*(booked|reserved|confirmed|complete[d]?|made|set|done|secured|finali[sz]ed|ready|placed|"
    r"approved)\b|\b(i|we)('ve|'ll| have| was able to| just)?( just| now| already| also| "
    r"successfully)* (booked|reserved|made|completed|confirmed|secured|got you|placed|make|scheduled|"
    r"set (you )?up)\b|is (all )?yours|\ball set\b|^(it'?s )?(all )?done\b|expects you|you('re| are) "
    r"(all )?(booked|set|confirmed)|(booking|reservation|room) (is )?(confirmed|made|done|complete[d]?|"
    r"booked|reserved)|(gone|went) ahead and (made|booked|reserved)|\ball booked\b|been saved|\bis "
    r"effective\b|finali[sz]ed your|completes your (booking|reservation)|(booking|reservation) is in\b"
)
FAILED = (
    r"\bfail|\bcan't\b|\bcannot\b|\bunsuccess|\bunable|(could|can|did|was|were|is|are|does|do|"
    r"would)(n'?t| ?not)\b(?! (work out|mention))|\bno (\w+ )?(rooms?|houses?|hotels?|vacanc\w*|"
    r"booking|availab\w*)|\bnothing (is|because|in|was|quite|match\w*)|\bunavailable|\bnone\b|\bsold "
    r"out\b|\bunfortunately|\bnot (\w+ )?(available|possible|free|yet|completed|booked|made|go)|"
    r"without success|has no room|are not in"
)
OFFERING = (
    r"\b(book|booking|booked|reserve|reserving|reservations?|proceed|go ahead|want (a|the|this) room|"
    r"schedule)\b|look up the price"
)
CANCELLING = r"\b(shall|should|want|like|may|can) .*\bcancel\b"
OTHER_FLAGS = {
    "cancelled": r"\b(is|been|was|have|'ve) cancell?ed\b",
    "kept": r"\bstays? as it is\b|\b(keep|kept|left|leave) (it |everything )?as it (is|was)\b",
}
CLOSING = (
    r"\b(good ?bye|bye|farewell)\b|\b(have|having) (a|an|your|fun|the|yourself|wonderful|great|good|"
    r"nice)\b|\benjoy|\bsee you|\btake care|\bthank|\bwelcome\b|\bpleasure\b|\bglad\b|\bno problem|"
    r"\bnot a problem|\bhappy to|\b(good|great|nice|wonderful|lovely|pleasant|safe|fantastic|awesome|"
    r"fabulous|amazing|super|blessed) (\w+ )?(day|night|evening|time|trip|stay|one|journey|afternoon|"
    r"morning|weekend|travels)|\bhope\b|\banytime\b|\bany ?time\b|\bno worries|\bcheers|\bmention it|if you "
    r"(need|require|want) anything else|always here|"
    r"\bsounds good|\bthat'?s (all|fine|great)"
)
GREETING = r"\b(hello|hi|hey|good (morning|afternoon|evening))\b|\bhow (can|may) (i|we) help|what can i do"

FEATURES = {
    "wifi": r"\bwi-?fi\b|\binternet\b|\bwireless\b",
    "laundry": r"\blaundry\b|\bwashing\b",
    "pets": r"\bpets?\b|\bdogs?\b|\bcats?\b|\banimals?\b|\bfurry\b",
    "smoking": r"\b(non-?)?smok\w+",
    "breakfast": r"\bbreakfasts?\b",
    "parking": r"\bparking\b|\bcar park\b",
    "pool": r"\b(swimming )?pool\b|\bswim\w*\b",
    "gym": r"\bgym\b|\bfitness\b",
    "terrace": r"\bterrace\b",
    "luggage": r"\bluggage\b|\bbaggage\b",
}
NEGATION = (
    r"\bno\b|\bnot\b|n'?t\b|\bnope\b|\bwithout\b|\bunfortunately\b|\bcannot\b|\bnever\b|\bprohibit\w*|"
    r"\black\w*|\bnon-?(?=smok)|\bforbid\w*|\bnor\b|\bdisallow\w*|\bban\w*|\bfree of\b|\bsmoke[- "
    r"]free\b|\bunavailable\b|\bsorry\b"
)
ANSWER = (
    r"^\W*(sure|well|ok|okay|oh|so|great|and)?\W*(yes|yeah|yep|yup|no|nope|nah|indeed|they do|it (sure "
    r")?does|they don'?t)(?=[,.!;]|$| (they|it|there|the|this|you)\b)"
)

UNITS = {
    "people": (
        r"(?:[a-z]+ )?(?:peoples?|persons?|guests?|adults?|travell?ers?|visitors?|individuals?|members?|"
        r"folks|of you|occupants?)"
    ),
    "rooms": r"(?:[a-z]+ )?rooms?",
    "nights": r"nights?|days?",
    "stars": r"stars?|star-rated|(?<=\d )rat(?:ed|ing)",
    "count": (
        r"(?:[a-z-]+ ){0,2}?(?:hotels?|houses?|results?|options?|places?|homes?|properties|matches|"
        r"listings|choices|ones)"
    ),
}
"""The noun behind a number says what it counts; one adjective may stand between."""

LEADS = {
    "people": r"(number of )?(people|persons?|guests?|adults?)|group of|party of",
    "rooms": r"(number of )?rooms?( requirement)?",
    "nights": r"(number of )?(nights|days)|duration|length of stay",
    "stars": r"rating|rated|ratings|rates|stars?|star rating|score",
    "price": r"costs?|price|total|totals?|charges?|amount|rate|fee",
    "count": r"found|located|are",
}
"""The word that leads up to a number."""

LINKS = r" is| are| of| at| a| an| as| will| be| for|:|-| the| to| comes| average"
"""The small words between."""

_NUMBER_WORDS = """
zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty
"""
NUMBERS = {word: number for number, word in enumerate(_NUMBER_WORDS.split())}

MONTHS = (
    "january", "february", "march", "april", "may", "june",
    "july", "august", "september", "october", "november", "december",
)  # fmt: skip
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")

ALIASES = {
    "new york": r"nyc|ny|new york city|the big apple|new york ny",
    "san francisco": r"sf|sfo|san fran|san francisco ca",
    "los angeles": r"la|l a|los angeles ca",
    "san diego": r"sd|san diego ca",
    "washington": r"dc|d c|washington dc|washington d c",
    "philadelphia": r"philly|phila",
    "las vegas": r"vegas|lv",
    "vancouver": r"vancouver bc",
    "new delhi": r"delhi",
    "london": r"london uk|london england",
    "seattle": r"seattle wa",
    "portland": r"portland or",
    "chicago": r"chi-town|chicago il",
    "atlanta": r"atl|atlanta ga",
    "sydney": r"sydney nsw|sydney australia",
    "anaheim": r"anaheim ca",
}
"""Cities by their other names."""

_ORDINARY = """
i i'm i'll i've i'd ok okay yes no sure the a an your you please great what which where when how is are
do does did will would can could so and but also in on at for from to it its it's they their there here
this that these those any we our my all just thanks thank hello hi hey bye goodbye good have enjoy
welcome alright check-in check-out checkin checkout check wifi wi-fi internet hotel hotels house houses
room rooms star stars rating phone number address price total reservation booking us today tomorrow
tonight next day out correct right confirm confirmed location city destination date dates people person
adults guests one two three four five six seven eight nine ten details name successful successfully
reserved booked found unfortunately sorry sir madam well wonderful perfect excellent awesome certainly
absolutely single double suite family group party want let let's not if of with may should shall anything
else pets laundry service checking area help problem england france australia
"""
NO_NAMES = frozenset((*_ORDINARY.split(), *DAYS))
"""Words that may be capitalised and yet name nothing."""

UNSAID_KEYS = frozenset({"reason", "error"})
"""Keys of tool results whose values are codes; the flags tell what they mean."""


def union(patterns: dict[str, str]) -> dict[str, re.Pattern[str]]:
    """The patterns compiled."""
    return {name: re.compile(pattern) for name, pattern in patterns.items()}
