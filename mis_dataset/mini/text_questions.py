"""Plain questions without pictures, each with a short response: does fine-tuning cost what the model knew?

Fourteen families of everyday questions. A family is chosen by how often the base is right on its ``choose`` half
and measured on its ``measure`` half. A line of the bank before and after::

    "France Paris"    (family ``capitals``)
    TextQuestion("text/0", "capitals", "choose", "What is the capital of France? ...", ("Paris",), ())

In a line ``|`` parts spellings that are all right, and ``_`` stands for a space.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal, NamedTuple

Half = Literal["choose", "measure"]


class TextQuestion(NamedTuple):
    """One question.

    Attributes:
        id: ``text/<n>``, n from 0 on.
        family: what kind of question it is, e.g. ``"capitals"``.
        half: ``choose`` or ``measure``; each family is split evenly.
        question: ends with what form the response should have.
        expected: spellings that are right.
        rivals: words of the same kind that would be wrong, e.g. the other option of an either/or.
    """

    id: str
    family: str
    half: Half
    question: str
    expected: tuple[str, ...]
    rivals: tuple[str, ...]


_PAIRS: dict[str, tuple[str, str]] = {
    "capitals": (
        "What is the capital of {}? Answer with the name of the city.",
        """France Paris, Japan Tokyo, Italy Rome, Germany Berlin, Spain Madrid, England London, Russia Moscow, China
        Beijing, Egypt Cairo, Greece Athens, Portugal Lisbon, Ireland Dublin, Austria Vienna, Hungary Budapest,
        Poland Warsaw, Sweden Stockholm, Norway Oslo, Denmark Copenhagen, Finland Helsinki, Belgium Brussels, Canada
        Ottawa, Australia Canberra, Cuba Havana, Peru Lima, Chile Santiago, Argentina Buenos_Aires, Kenya Nairobi,
        Thailand Bangkok, Vietnam Hanoi, South_Korea Seoul, the_Philippines Manila, Turkey Ankara, India
        New_Delhi|Delhi, the_United_States Washington, Scotland Edinburgh, Wales Cardiff, Iran Tehran, Iraq Baghdad,
        Romania Bucharest, Bulgaria Sofia, Serbia Belgrade, Croatia Zagreb, Colombia Bogota|Bogotá,
        the_Czech_Republic Prague""",
    ),
    "continents": (
        "On which continent is {}? Answer with the name of the continent.",
        """France Europe, Japan Asia, Italy Europe, China Asia, Germany Europe, India Asia, Spain Europe, Thailand
        Asia, Poland Europe, Vietnam Asia, Sweden Europe, South_Korea Asia, Norway Europe, Nepal Asia, Austria
        Europe, Mongolia Asia, Kenya Africa, Brazil South_America, Nigeria Africa, Peru South_America, Ghana Africa,
        Chile South_America, Ethiopia Africa, Argentina South_America, Morocco Africa, Canada North_America,
        Tanzania Africa, Mexico North_America, Uganda Africa, Bolivia South_America, Algeria Africa, Colombia
        South_America, Belgium Europe, Laos Asia, Greece Europe, Cambodia Asia, Portugal Europe, Bangladesh Asia,
        Ireland Europe, Malaysia Asia, Finland Europe, Pakistan Asia, Zimbabwe Africa, Uruguay South_America""",
    ),
    "languages": (
        "What is the main language spoken in {}?",
        """France French, Germany German, Japan Japanese, Spain Spanish, Italy Italian, Russia Russian, Portugal
        Portuguese, Greece Greek, Poland Polish, Sweden Swedish, Norway Norwegian, Denmark Danish, Finland Finnish,
        Hungary Hungarian, Turkey Turkish, Mexico Spanish, Brazil Portuguese, England English, Australia English,
        Egypt Arabic, Thailand Thai, Vietnam Vietnamese, South_Korea Korean, China Chinese|Mandarin, Austria German,
        Argentina Spanish, Saudi_Arabia Arabic, Iceland Icelandic, Chile Spanish, Romania Romanian, Colombia
        Spanish, Bulgaria Bulgarian, Cuba Spanish, Peru Spanish, the_Netherlands Dutch, the_United_States English,
        Iraq Arabic, Jordan Arabic, Scotland English, New_Zealand English, Bangladesh Bengali|Bangla, Croatia
        Croatian, Iran Persian|Farsi, Jamaica English""",
    ),
    "symbols": (
        "What is the chemical symbol for {}?",
        """gold Au, silver Ag, iron Fe, oxygen O, hydrogen H, carbon C, nitrogen N, helium He, sodium Na, potassium K,
        calcium Ca, copper Cu, lead Pb, tin Sn, zinc Zn, chlorine Cl, lithium Li, boron B, fluorine F, neon Ne,
        magnesium Mg, aluminum Al, silicon Si, phosphorus P, sulfur S, argon Ar, titanium Ti, vanadium V, chromium
        Cr, manganese Mn, cobalt Co, nickel Ni, gallium Ga, selenium Se, bromine Br, krypton Kr, cadmium Cd, barium
        Ba, tungsten W, platinum Pt, mercury Hg, radium Ra, radon Rn, uranium U""",
    ),
    "cities": (
        "In which country is {}?",
        """Paris France, Tokyo Japan, Rome Italy, Berlin Germany, Madrid Spain, Moscow Russia, Beijing China, Cairo
        Egypt, Athens Greece, Sydney Australia, Toronto Canada, Mumbai India, Venice Italy, Barcelona Spain, Munich
        Germany, Shanghai China, Lyon France, Osaka Japan, Milan Italy, Hamburg Germany, Seville Spain, Melbourne
        Australia, Vancouver Canada, Lisbon Portugal, Dublin Ireland, Vienna Austria, Warsaw Poland, Prague
        Czech|Czechia, Budapest Hungary, Stockholm Sweden, Oslo Norway, Copenhagen Denmark, Helsinki Finland,
        Brussels Belgium, Amsterdam Netherlands|Holland, Zurich Switzerland, Istanbul Turkey|Türkiye, Bangkok
        Thailand, Nairobi Kenya, Lagos Nigeria, Lima Peru, Havana Cuba, Buenos_Aires Argentina, Rio_de_Janeiro
        Brazil""",
    ),
    "landmarks": (
        "In which country is {}?",
        """the_Eiffel_Tower France, the_Great_Wall China, the_Taj_Mahal India, the_Colosseum Italy, Big_Ben
        England|Kingdom|UK|Britain, the_Acropolis Greece, Machu_Picchu Peru, Mount_Fuji Japan, the_Statue_of_Liberty
        States|America|USA, the_Kremlin Russia, Petra Jordan, Stonehenge England|Kingdom|UK|Britain, the_Louvre
        France, the_Forbidden_City China, the_Leaning_Tower_of_Pisa Italy, the_Tower_of_London
        England|Kingdom|UK|Britain, Buckingham_Palace England|Kingdom|UK|Britain, the_Parthenon Greece,
        the_Grand_Canyon States|America|USA, the_White_House States|America|USA, the_Golden_Gate_Bridge
        States|America|USA, Mount_Rushmore States|America|USA, Red_Square Russia, the_Sydney_Opera_House
        Australia, the_Great_Barrier_Reef Australia, Uluru Australia, the_Great_Sphinx Egypt,
        the_Valley_of_the_Kings Egypt, the_Brandenburg_Gate Germany, the_Black_Forest Germany, the_Alhambra Spain,
        the_Prado_Museum Spain, Angkor_Wat Cambodia, Chichen_Itza Mexico, Mount_Kilimanjaro Tanzania, Table_Mountain
        South_Africa, Edinburgh_Castle Scotland|Kingdom|UK|Britain, Loch_Ness Scotland|Kingdom|UK|Britain,
        the_Palace_of_Versailles France, Mount_Vesuvius Italy, the_Trevi_Fountain Italy, the_CN_Tower Canada,
        Mount_Etna Italy, the_Berlin_Wall Germany""",
    ),
    "currencies": (
        "What is the currency of {}?",
        """Japan yen, the_United_Kingdom pound|sterling, India rupee|rupees, the_United_States dollar|dollars, China
        yuan|renminbi, Russia ruble|rouble|rubles, Mexico peso|pesos, Germany euro|euros, France euro|euros, Italy
        euro|euros, Spain euro|euros, Australia dollar|dollars, Canada dollar|dollars, South_Korea won, Thailand
        baht, Poland zloty|złoty, Switzerland franc|francs, Sweden krona, Norway krone, Denmark krone, Hungary
        forint, the_Czech_Republic koruna, Turkey lira, Brazil real|reais, South_Africa rand, Kenya
        shilling|shillings, Nigeria naira, Egypt pound|pounds, Indonesia rupiah, Malaysia ringgit, Vietnam
        dong|đồng, the_Philippines peso|pesos, Israel shekel|shekels, Saudi_Arabia riyal, Pakistan rupee|rupees,
        Bangladesh taka, New_Zealand dollar|dollars, Argentina peso|pesos, Chile peso|pesos, Colombia peso|pesos,
        Greece euro|euros, Ireland euro|euros, Portugal euro|euros, Singapore dollar|dollars""",
    ),
    "made": (
        "What is {} made from?",
        """paper wood|trees|tree|pulp, cheese milk, butter milk|cream, wine grapes|grape, bread flour|wheat, chocolate
        cocoa|cacao, glass sand|silica, yogurt milk, leather skin|skins|hide|hides, cider apples|apple, flour
        wheat|grain|grains, granola oats|oat, tofu soy|soybeans|soybean, popcorn corn, ketchup tomatoes|tomato,
        beer barley|hops|malt, pasta flour|wheat|durum|semolina, olive_oil olives, peanut_butter peanuts,
        orange_juice oranges, apple_juice apples, tomato_soup tomatoes, lemonade lemons|lemon, guacamole
        avocado|avocados, hummus chickpeas|chickpea, maple_syrup sap|trees|tree, silk silkworm|silkworms|cocoons,
        brick clay, steel iron, concrete cement, green_tea leaves, coffee beans|bean, jam fruit|fruits|berries,
        honey nectar, mayonnaise eggs|egg|yolks|yolk|oil, sushi rice, porridge oats|oatmeal|oat, sauerkraut
        cabbage, bronze copper|tin, brass copper|zinc, potato_salad potatoes, carrot_cake carrots, charcoal wood,
        cream milk""",
    ),
    "famous": (
        "Who {}?",
        """invented_the_telephone Bell, invented_the_light_bulb Edison, painted_the_Mona_Lisa Leonardo|Vinci,
        discovered_penicillin Fleming, developed_the_theory_of_relativity Einstein, was_the_first_person_on_the_Moon
        Armstrong, painted_The_Starry_Night Gogh, discovered_the_law_of_gravity Newton,
        composed_the_Moonlight_Sonata Beethoven, was_the_first_president_of_the_United_States Washington,
        wrote_Hamlet Shakespeare, wrote_Romeo_and_Juliet Shakespeare, wrote_Oliver_Twist Dickens,
        wrote_A_Christmas_Carol Dickens, wrote_Pride_and_Prejudice Austen, wrote_Don_Quixote Cervantes,
        wrote_War_and_Peace Tolstoy, wrote_the_Odyssey Homer, wrote_the_Iliad Homer, wrote_Moby_Dick Melville,
        wrote_The_Hobbit Tolkien, wrote_The_Lord_of_the_Rings Tolkien, wrote_Macbeth Shakespeare, wrote_Jane_Eyre
        Brontë|Bronte, wrote_Frankenstein Shelley, wrote_the_Harry_Potter_books Rowling, wrote_The_Great_Gatsby
        Fitzgerald, wrote_Alice_in_Wonderland Carroll, created_Sherlock_Holmes Doyle, wrote_Animal_Farm Orwell,
        wrote_The_Adventures_of_Tom_Sawyer Twain, wrote_Treasure_Island Stevenson, wrote_Robinson_Crusoe Defoe,
        wrote_The_Time_Machine Wells, wrote_Les_Misérables Hugo, wrote_the_Divine_Comedy Dante,
        painted_the_ceiling_of_the_Sistine_Chapel Michelangelo, painted_Guernica Picasso,
        proposed_the_theory_of_evolution_by_natural_selection Darwin, discovered_radium Curie,
        invented_the_printing_press Gutenberg, composed_The_Four_Seasons Vivaldi, composed_The_Magic_Flute Mozart,
        composed_Swan_Lake Tchaikovsky""",
    ),
    "opposites": (
        "What is the opposite of the word '{}'? Answer in one word.",
        """hot cold, big small|little|tiny, up down, left right, day night, open closed|close|shut, happy sad|unhappy,
        fast slow, old new|young, black white, wet dry, full empty, long short, light dark|heavy|darkness, hard
        soft|easy, in out, high low, young old, early late, rich poor, strong weak, clean dirty, loud
        quiet|soft|silent, inside outside, first last, begin end|finish|stop, win lose, buy sell, push pull, above
        below|under|beneath, near far, thick thin, true false, love hate, start stop|end|finish, yes no, wide
        narrow, deep shallow, asleep awake, before after, remember forget, always never, summer winter, empty full""",
    ),
    "plurals": (
        "What is the plural of {}?",
        """child children, man men, woman women, foot feet, tooth teeth, mouse mice, goose geese, person
        people|persons, leaf leaves, knife knives, wolf wolves, baby babies, city cities, party parties, box boxes,
        bus buses, dish dishes, church churches, cat cats, dog dogs, book books, tree trees, house houses, apple
        apples, car cars, bird birds, lady ladies, story stories, berry berries, cherry cherries, glass glasses,
        watch watches, brush brushes, fox foxes, potato potatoes, tomato tomatoes, hero heroes, loaf loaves, shelf
        shelves, half halves, wife wives, life lives, country countries, butterfly butterflies""",
    ),
    "people": (
        "A person who rides horses is called a rider. What is a person who {} called?",
        """bakes_bread baker, teaches_at_a_school teacher, flies_a_plane pilot, puts_out_fires firefighter|fireman,
        paints_pictures painter|artist, sings_songs singer, writes_books writer|author|novelist, drives_a_bus
        driver, looks_after_teeth dentist, dances_on_a_stage dancer, grows_crops farmer, catches_fish
        fisherman|angler|fisher, cuts_hair barber|hairdresser|stylist, cooks_in_a_restaurant chef|cook,
        travels_into_space astronaut|cosmonaut, takes_photographs photographer, plays_the_piano pianist, sells_meat
        butcher, treats_sick_animals vet|veterinarian, designs_houses architect, acts_in_films actor|actress,
        swims_in_races swimmer, runs_in_races runner|sprinter|racer, plays_the_guitar guitarist, plays_the_drums
        drummer, plays_the_violin violinist, repairs_pipes plumber, works_with_wood carpenter|woodworker, keeps_bees
        beekeeper|apiarist, looks_after_sheep shepherd, serves_food_in_a_restaurant waiter|waitress|server,
        works_in_a_library librarian, studies_the_stars astronomer, repairs_cars mechanic, brings_letters
        postman|mailman|mailcarrier, writes_poems poet, sews_clothes tailor|seamstress, does_magic_tricks magician,
        rules_a_kingdom king|queen|monarch, does_scientific_research scientist|researcher, learns_at_a_school
        student|pupil, sells_flowers florist, teaches_a_sports_team coach|trainer, gardens_for_a_living gardener""",
    ),
}
"""family -> template and its lines, each what goes into the template and what is expected."""

_OPTIONS: dict[str, tuple[str, str]] = {
    "bigger": (
        "Which is bigger, {} or {}? Answer with one of the two.",
        """an_elephant a_mouse, a_house a_shoe, a_whale a_goldfish, a_car a_coin, a_mountain a_pebble, the_sun
        the_moon, an_ocean a_pond, a_tree a_leaf, a_horse a_rabbit, a_bus a_bicycle, a_city a_village, a_cow a_hen,
        a_watermelon a_grape, a_planet a_football, a_table a_spoon, a_lion an_ant, a_ship a_canoe, a_castle a_hut,
        a_lake a_puddle, a_bear a_squirrel, a_forest a_bush, a_bed a_pillow, a_truck a_skateboard, a_giraffe a_frog,
        a_pumpkin a_cherry, an_airplane a_kite, a_country a_town, a_piano a_flute, a_wardrobe a_matchbox, a_camel
        a_cat, a_door a_key, a_tiger a_beetle, a_river a_raindrop, a_train a_scooter, a_church a_tent, a_gorilla
        a_hamster, a_fridge a_cup, a_shark a_shrimp, a_book a_stamp, a_skyscraper a_garage, an_ostrich a_sparrow,
        a_sofa a_stool, a_hippo a_duck, a_bucket a_thimble""",
    ),
    "kind": (
        "Is {0} {1} or {2}? Answer with one of the two.",
        """an_apple:a_fruit:a_vehicle, a_carrot:a_vegetable:an_animal, a_salmon:a_fish:a_bird, an_eagle:a_bird:a_fish,
        a_rose:a_flower:a_metal, iron:a_metal:a_fruit, a_truck:a_vehicle:a_flower,
        a_guitar:an_instrument:a_vegetable, a_hammer:a_tool:a_drink, coffee:a_drink:a_tool, a_banana:a_fruit:a_bird,
        a_sparrow:a_bird:a_vehicle, a_violin:an_instrument:an_animal, a_dog:an_animal:a_plant, an_oak:a_tree:a_fish,
        a_shark:a_fish:a_tree, a_tulip:a_flower:a_tool, gold:a_metal:a_bird, tea:a_drink:a_colour,
        red:a_colour:a_number, seven:a_number:a_colour, Monday:a_day:a_month, April:a_month:a_day,
        France:a_country:a_city, Paris:a_city:a_country, a_sofa:furniture:clothing, a_shirt:clothing:furniture,
        a_bus:a_vehicle:an_insect, an_ant:an_insect:a_fruit, football:a_sport:a_language,
        Spanish:a_language:a_sport, a_piano:an_instrument:a_fruit, a_pear:a_fruit:a_metal,
        a_cabbage:a_vegetable:a_bird, silver:a_metal:an_animal, a_wolf:an_animal:a_flower, tennis:a_sport:a_drink,
        milk:a_drink:a_vehicle, a_daisy:a_flower:a_bird, a_penguin:a_bird:a_fruit, July:a_month:a_colour,
        blue:a_colour:a_month, a_wrench:a_tool:an_animal, a_butterfly:an_insect:a_tool""",
    ),
}
"""family -> template and its lines, the right option before the other."""

_CLOSED = ("capitals", "continents", "languages", "cities", "landmarks")
"""Families in which every response of another question is wrong here."""
_UNDECIDED = re.compile(r"\b(both|neither|either|or)\b", re.IGNORECASE)
_DENIAL = re.compile(r"\b(not|no|never|cannot)\b|n['’]t\b", re.IGNORECASE)
_END = re.compile(r"(?<![\s.][A-Z])[.!?](?:\s|$)|\n")  # initials such as J. R. R. end no sentence


@lru_cache(maxsize=1)
def text_questions() -> tuple[TextQuestion, ...]:
    """Makes the bank: 14 families of 44 questions, half of each family to choose by and half to measure.

    Returns:
        The same 616 questions at every call; halves alternate within a family.
    """
    drafts = [*_pair_questions(), *_option_questions()]
    halves: tuple[Half, Half] = ("choose", "measure")
    return tuple(draft._replace(id=f"text/{number}", half=halves[number % 2]) for number, draft in enumerate(drafts))


def is_right(expected: tuple[str, ...], response: str, rivals: tuple[str, ...] = ()) -> bool:
    """Marks a response by its first sentence.

    Right is a sentence that holds one of the `expected` as a whole word, upper or lower case, unless

    - a word that denies (not, no, never, n't) stands before it;
    - a rival stands before it ("Tokyo, then Paris");
    - a rival stands behind it and the sentence leaves the choice open (both, either, neither, or).

    "An elephant is bigger than a mouse." is right for an elephant, since it is named first. What is right only
    when read backwards ("A mouse is smaller than an elephant.") is marked wrong, for every model alike.

    Args:
        expected: `TextQuestion.expected`.
        response: the decoded text.
        rivals: `TextQuestion.rivals`.

    Returns:
        Whether it is right; False for an empty response.
    """
    sentence = next((part for part in _END.split(response) if part.strip()), "")
    place = _first_place(expected, sentence)
    if place is None:
        return False
    before = sentence[:place]
    # "No" may itself be what is expected, so only what stands before it counts.
    if _DENIAL.search(before) or _first_place(rivals, before) is not None:
        return False
    return _first_place(rivals, sentence) is None or not _UNDECIDED.search(sentence)


def _first_place(words: tuple[str, ...], sentence: str) -> int | None:
    """Where the first of `words` begins in `sentence` as a whole word."""
    found = (re.search(rf"(?<!\w){re.escape(word)}(?!\w)", sentence, re.IGNORECASE) for word in words)
    return min((match.start() for match in found if match), default=None)


def _pair_questions() -> list[TextQuestion]:
    """Questions of `_PAIRS`, without id and half."""
    drafts = []
    for family, (template, lines) in _PAIRS.items():
        pairs = [line.split() for line in lines.split(",")]
        family_words = {word for _, right in pairs for word in right.split("|")} if family in _CLOSED else set()
        for slot, right in pairs:
            question = template.format(_spaced(slot))
            expected = tuple(_spaced(word) for word in right.split("|"))
            rivals = sorted({_spaced(word) for word in family_words} - set(expected))
            named = tuple(rival for rival in rivals if _first_place((rival,), question) is None)
            drafts.append(TextQuestion("", family, "choose", question, expected, named))
    return drafts


def _option_questions() -> list[TextQuestion]:
    """Questions of `_OPTIONS`; in every second pair of questions the right option comes second."""
    drafts = []
    for family, (template, lines) in _OPTIONS.items():
        for number, line in enumerate(lines.split(",")):
            *subject, right, other = (_spaced(word) for word in re.split(r"[\s:]+", line.strip()))
            options = (other, right) if number // 2 % 2 else (right, other)
            question = template.format(*subject, *options)
            draft = TextQuestion("", family, "choose", question, (_bare(right),), (_bare(other),))
            drafts.append(draft)
    return drafts


def _spaced(words: str) -> str:
    return words.replace("_", " ")


def _bare(option: str) -> str:
    """An option without its article."""
    return re.sub(r"^(an?|the) ", "", option)
